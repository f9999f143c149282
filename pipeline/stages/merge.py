"""Between the stages: the heaps of all parts become the winners and the feature maps' table."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.heaps.certificate import Flags
from pipeline.data.results import read_parts, read_skipped
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.stages.heap_files import ranking_values, remarks_of
from pipeline.stages.rescore import Looks

_MOST_WAITING = 2**20
"""Rows that are collected before they are sorted into the winners so far."""

_STATISTICS = ("images", "active", "max", "total", "total_squares")


def merge(run: Store, spec: RunSpec, parts: Sequence[str], looks: Looks | None = None) -> list[str]:
    """Merge the heaps of these parts, given in the order of the dataset.

    A sample's position in the dataset is its position in its part plus the samples of all parts
    before; ranks follow from it and the activation alone, so they do not depend on how the
    dataset was cut up, nor on who mined what.

    Args:
        run: whose parts are all mined.
        spec: what the run is.
        parts: their names.
        looks: of a run in reduced precision, at its images exactly: the winners come from there,
            the statistics over all images from the screening.

    Returns:
        What there is to say of the parts' data, each line once.

    Raises:
        RequestError: no image of the dataset could be used.
        IncompleteError: a heap file cannot be read.
        WriteError: a result could not be stored.
    """
    entries: list[pa.Table] = []
    statistics = _Statistics()
    remarks: dict[str, None] = {}
    before = 0
    for table in _of_parts(run, parts, screened=looks is not None):
        if looks is None:
            entries = _added(entries, _explode(table, before), spec.top_k)
        statistics.add(table)
        before += int(table.schema.metadata[schema.SAMPLES_IN_PART])
        remarks |= dict.fromkeys(remarks_of(table))
    looked_at = [unit.file for unit in looks.units] if looks is not None else []
    for table in read_parts(run, looked_at, schema.HEAP.names):
        entries = _added(entries, _explode(table, 0), spec.top_k)
    feature_maps = statistics.table()
    if pc.max(feature_maps["images"]).as_py() == 0:
        raise RequestError(_nothing_usable(run, spec))
    winners = _best(entries, spec.top_k)
    if looks is not None:
        feature_maps = _certified(feature_maps, winners, looks.certified)
    for layer in spec.layers:
        rows = winners.filter(pc.equal(winners["layer"], layer.name))
        run.write_table(schema.winners_name(layer.name), _with_boxes(rows, layer, spec))
    _leave_readable(run, parts)
    run.write_table(schema.FEATURE_MAPS, feature_maps)
    return list(remarks)


def _of_parts(run: Store, parts: Sequence[str], *, screened: bool) -> Iterator[pa.Table]:
    """The heaps of each part, or the statistics of its screening."""
    if screened:
        names = [schema.screen_name(part) for part in parts]
        return read_parts(run, names, schema.SCREEN_HEAP.names[:-1])
    return read_parts(run, [schema.heap_name(part) for part in parts])


def _added(entries: list[pa.Table], new: pa.Table, top_k: int) -> list[pa.Table]:
    """Some more entries; where there are many, only the best so far are left."""
    entries = [*entries, new]
    if sum(map(len, entries[1:])) > max(_MOST_WAITING, len(entries[0])):
        return [_best(entries, top_k)]
    return entries


def _certified(feature_maps: pa.Table, winners: pa.Table, certified: Flags) -> pa.Table:
    """The statistics of a screening, put right where the winners tell what is exact."""
    largest = feature_maps["max"].to_numpy().clip(max=0)  # of maps without a winner
    best = winners.filter(pa.array(_ranks(winners) == 1))
    keys = ["layer", "feature_map"]
    places = pd.MultiIndex.from_frame(feature_maps.select(keys).to_pandas())
    largest[places.get_indexer(pd.MultiIndex.from_frame(best.select(keys).to_pandas()))] = best[
        "activation"
    ].to_numpy()
    columns = {name: feature_maps[name].combine_chunks() for name in feature_maps.column_names}
    active = np.where(largest > 0, feature_maps["active"].to_numpy().clip(min=1), 0)
    columns |= {"max": largest, "active": active, "certified": certified}
    return schema.table_of(columns, schema.FEATURE_MAP)


def _explode(heap: pa.Table, before: int) -> pa.Table:
    """One row per winner of a heap table, its sample counted from the start of the dataset."""
    lists = heap["winners"].combine_chunks()
    owners = pc.list_parent_indices(lists)
    entries = pa.Table.from_struct_array(pc.list_flatten(lists))
    sample = entries.column_names.index("sample")
    entries = entries.set_column(sample, "sample", pc.add(entries["sample"], before))
    return (
        entries.append_column("layer", heap["layer"].take(owners))
        .append_column("feature_map", heap["feature_map"].take(owners))
        .append_column("value", pa.array(ranking_values(entries)))
    )  # fmt: skip


def _best(tables: Sequence[pa.Table], top_k: int) -> pa.Table:
    """The first `top_k` of each feature map in the total order; sorted by map, then by it."""
    rows = pa.concat_tables(tables)
    order = pc.sort_indices(
        rows,
        [
            ("layer", "ascending"),
            ("feature_map", "ascending"),
            ("value", "descending"),
            ("sample", "ascending"),
        ],
    )
    rows = rows.take(order)
    ranks = _ranks(rows)
    return rows.filter(pa.array(ranks <= top_k)).combine_chunks()


def _ranks(rows: pa.Table) -> np.ndarray:
    """Ranks from 1 of rows that are sorted by layer, feature map and the total order."""
    layers = rows["layer"].combine_chunks().dictionary_encode().indices.to_numpy()
    maps = rows["feature_map"].to_numpy()
    starts = np.ones(len(rows), bool)
    starts[1:] = (layers[1:] != layers[:-1]) | (maps[1:] != maps[:-1])
    place = np.arange(len(rows))
    return place - np.maximum.accumulate(np.where(starts, place, 0)) + 1


def _with_boxes(rows: pa.Table, layer: LayerSpec, spec: RunSpec) -> pa.Table:
    """The winners of one layer as they are stored."""
    y, x = (rows[axis].to_numpy() for axis in ("y", "x"))
    height, width = (rows[side].to_numpy() for side in ("height", "width"))
    boxes = layer.receptive_field.boxes(y, x, spec.preprocessing.input_size)
    source = spec.preprocessing.source_boxes(boxes, height, width)
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    columns |= {"rank": _ranks(rows)}
    for i, side in enumerate(schema.SIDES):
        columns |= {side: boxes[:, i], f"source_{side}": source[:, i]}
    return schema.table_of(columns, schema.WINNER)


class _Statistics:
    """Sums over parts, added up in their order, so that they are the same always."""

    def __init__(self) -> None:
        self._maps: pa.Table | None = None
        self._sums: dict[str, np.ndarray] = {}

    def add(self, heap: pa.Table) -> None:
        """Those of one more part."""
        if self._maps is None:
            self._maps = heap.select(["layer", "feature_map"])
        for name in _STATISTICS:
            values = heap[name].to_numpy()
            join = np.maximum if name == "max" else np.add
            self._sums[name] = join(self._sums[name], values) if name in self._sums else values

    def table(self) -> pa.Table:
        """The feature maps' table, every map of it certified."""
        assert self._maps is not None, "a dataset has parts"
        images = self._sums["images"]
        with np.errstate(invalid="ignore"):  # no images at all is refused by the caller
            mean = self._sums["total"] / images
            variance = self._sums["total_squares"] / images - mean**2
        columns = {
            "layer": self._maps["layer"].combine_chunks(),
            "feature_map": self._maps["feature_map"].combine_chunks(),
            "images": images,
            "active": self._sums["active"],
            "max": self._sums["max"],
            "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0)),
            "certified": np.ones(len(images), bool),
        }
        return schema.table_of(columns, schema.FEATURE_MAP)


def _leave_readable(run: Store, parts: Sequence[str]) -> None:
    """Where no sample was skipped, a table without rows: pandas reads no empty folder."""
    if not run.list(schema.SKIPPED):
        run.write_table(schema.skipped_name(parts[0]), schema.SKIPPED_SAMPLE.empty_table())


def _nothing_usable(run: Store, spec: RunSpec) -> str:
    reasons = read_skipped(run)["reason"]
    why = f", the first one because: {reasons[0]}" if len(reasons) else ""
    return f"No image of {spec.data} could be used{why}; {run.url}/skipped lists them all."
