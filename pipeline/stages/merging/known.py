"""The statistics of all parts, added up in the order of the dataset: whoever mined what, the same.

What is added up has the form of a part's statistics again.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.core.heaps.statistics import BUCKETS, Class
from pipeline.data.store import Store
from pipeline.data.stored import part_columns
from pipeline.data.stored.heaps import read_statistics
from pipeline.stages.heap_files import in_first_row, lists_of
from pipeline.stages.statistics_file import add_counts, class_columns, spread_columns

_LABEL = ("label", "class_name")


class Classes:
    """Sums by class, of M maps.

    Attributes:
        rows: of each class, in the arrays.
        images: (C,) of each class.
        totals: (C, M) sums of activations.
        active: (C, M) images with an activation above zero.
    """

    def __init__(self, maps: int) -> None:
        self.rows: dict[Class, int] = {}
        self.images = np.zeros(0, np.int64)
        self.totals = np.zeros((0, maps))
        self.active = np.zeros((0, maps), np.int64)

    def add(self, table: pa.Table, classes: pa.Table) -> None:
        """Those of one more part."""
        labels = zip(*(classes[name].to_pylist() for name in _LABEL), strict=True)
        here = [self.rows.setdefault(of_image, len(self.rows)) for of_image in labels]
        missing = len(self.rows) - len(self.images)
        if missing > 0:
            room = missing + len(self.rows)  # twice as much: they come one by one
            self.images = np.pad(self.images, (0, room))
            self.totals = np.pad(self.totals, ((0, room), (0, 0)))
            self.active = np.pad(self.active, ((0, room), (0, 0)))
        if here:
            self.images[here] += classes["images"].to_numpy()
            self.totals[here] += _by_map(table["class_totals"], len(here)).T
            self.active[here] += _by_map(table["class_active"], len(here)).T

    def in_order(self) -> tuple[list[Class], NDArray[np.int64]]:
        """The classes by label, then by name, and their rows."""
        order = sorted(self.rows, key=lambda of: (of[0] is None, of[0] or 0, of[1] or ""))
        return order, np.array([self.rows[of_images] for of_images in order], np.int64)


class Known:
    """What is known of the maps of some layers.

    Args:
        run: where it is.
        files: with the statistics of parts, in the order of the dataset.
        layers: whose maps.
        share: the lot below which a sample is one to choose examples from.
        looked_at: files of a run in reduced precision that hold the samples that are kept.

    Attributes:
        maps: M rows of layer and feature map.
        counts: (M, BUCKETS) images by activation.
        samples: how many all parts have.
        classes: sums by class.
        kept: of n images what is known of them,
        entries: and each column of `part_columns.KEPT_ENTRY` (M, n); NaN where there is nothing.

    Raises:
        IncompleteError: a file cannot be read.
    """

    def __init__(
        self,
        run: Store,
        files: Sequence[str],
        layers: Collection[str],
        share: float,
        looked_at: Sequence[str] = (),
    ) -> None:
        self.maps = part_columns.STATISTIC.empty_table().select(["layer", "feature_map"])
        self.samples = 0
        kept = []
        for table, classes, samples in read_statistics(run, files, layers):
            if not len(self.maps):
                self.maps = table.select(["layer", "feature_map"])
                self.counts = np.zeros((len(table), BUCKETS), np.int64)
                self.classes = Classes(len(table))
            add_counts(table, self.counts)
            self.classes.add(table, classes)
            kept.append(_kept(table, samples, share, self.samples))
            self.samples += int(table.schema.metadata[schema.SAMPLES_IN_PART])
        for table, _, samples in read_statistics(run, looked_at, layers):
            kept.append(_kept(table, samples, share, 0))
        samples = pa.concat_tables([samples for samples, _ in kept]).combine_chunks()
        order = np.argsort(samples["sample"].to_numpy())
        self.kept = samples.take(order)
        self.entries = {
            field.name: np.concatenate([of_part[field.name] for _, of_part in kept], 1)[:, order]
            for field in part_columns.KEPT_ENTRY
        }

    def table(self) -> pa.Table:
        """The same as the statistics of one part."""
        maps, kept = len(self.maps), len(self.kept)
        order, rows = self.classes.in_order()
        entries = {
            name: pa.array(of.ravel(), from_pandas=True) for name, of in self.entries.items()
        }
        samples = [self.kept[field.name].combine_chunks() for field in part_columns.KEPT_SAMPLE]
        known = pa.StructArray.from_arrays(samples, fields=list(part_columns.KEPT_SAMPLE))
        columns = {
            **{name: self.maps[name].combine_chunks() for name in self.maps.column_names},
            **spread_columns(self.counts),
            **class_columns(
                order,
                self.classes.images[rows].tolist(),
                self.classes.totals[rows],
                self.classes.active[rows],
            ),
            "kept": lists_of(
                schema.entries_of(entries, part_columns.KEPT_ENTRY), np.full(maps, kept)
            ),
            "kept_samples": in_first_row(known, maps),
        }
        table = schema.table_of(columns, part_columns.STATISTIC)
        return table.replace_schema_metadata({schema.SAMPLES_IN_PART: str(self.samples)})


def _by_map(lists: pa.ChunkedArray, length: int) -> NDArray[Any]:
    """Lists of one length as (M, length)."""
    values: NDArray[Any] = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(lists), length)


def _kept(
    table: pa.Table, samples: pa.Table, share: float, before: int
) -> tuple[pa.Table, dict[str, NDArray[Any]]]:
    """The samples with a lot below a share, counted from `before` on, and their entries (M, n)."""
    chosen = np.flatnonzero(samples["lot"].to_numpy() < share)
    shape = len(table), len(samples)
    entries = pa.Table.from_struct_array(table["kept"].combine_chunks().flatten())
    of_chosen = {
        name: entries[name].to_numpy().reshape(shape)[:, chosen] for name in entries.column_names
    }
    samples = samples.take(chosen)
    position = pa.array(samples["sample"].to_numpy() + before)
    place = samples.column_names.index("sample")
    return samples.set_column(place, "sample", position), of_chosen
