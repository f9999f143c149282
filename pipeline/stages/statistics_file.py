"""What stage 1 stores of a part beside its heaps, as a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.core.heaps.statistics import Class, Statistics
from pipeline.core.nets.known import Net
from pipeline.data.batches import Seen
from pipeline.data.stored import part_columns
from pipeline.stages.heap_files import in_first_row, lists_of, samples_of


def statistics_table(net: Net, statistics: Statistics, seen: Seen) -> pa.Table:
    """One row per feature map of all layers.

    Args:
        net: whose maps they are.
        statistics: of the part.
        seen: its samples.
    """
    rows = len(statistics.classes)
    columns = {
        **_maps(net),
        **spread_columns(statistics.counts.cpu().numpy()),
        **class_columns(
            statistics.classes,
            statistics.images,
            statistics.total[:rows].cpu().numpy(),
            statistics.active[:rows].cpu().numpy(),
        ),
        **_kept(net, statistics, seen),
    }
    table = schema.table_of(columns, part_columns.STATISTIC)
    return table.replace_schema_metadata({schema.SAMPLES_IN_PART: str(len(seen))})


def _maps(net: Net) -> dict[str, Any]:
    layers = net.graph.layers
    return {
        "layer": np.repeat([layer.name for layer in layers], [layer.maps for layer in layers]),
        "feature_map": np.concatenate([np.arange(layer.maps) for layer in layers]),
    }


def spread_columns(counts: NDArray[np.integer]) -> dict[str, Any]:
    """Of images in each bucket (M, BUCKETS) those from the first to the last that has any."""
    there = counts > 0
    first = there.argmax(1)
    end = np.where(there.any(1), counts.shape[1] - there[:, ::-1].argmax(1), 0)
    buckets = np.arange(counts.shape[1])
    within = (buckets >= first[:, None]) & (buckets < end[:, None])
    return {"first": first, "counts": lists_of(pa.array(counts[within]), within.sum(1))}


def add_counts(table: pa.Table, counts: NDArray[np.int64]) -> None:
    """And back: added to what there is of the maps, (M, BUCKETS)."""
    lists = table["counts"].combine_chunks()
    lengths = np.diff(lists.offsets.to_numpy())
    starts = np.arange(len(table)) * counts.shape[1] + table["first"].to_numpy()
    places = np.repeat(starts - (lengths.cumsum() - lengths), lengths) + np.arange(lengths.sum())
    counts.ravel()[places] += lists.flatten().to_numpy()


def class_columns(
    classes: Sequence[Class],
    images: Sequence[int],
    totals: NDArray[np.floating],
    active: NDArray[np.integer],
) -> dict[str, Any]:
    """Sums of each class (C, M) and what the classes are."""
    maps = totals.shape[1]
    labels, names = zip(*classes, strict=True) if classes else ((), ())
    entries = {"label": labels, "class_name": names, "images": images}
    lengths = np.full(maps, len(classes))
    return {
        "class_totals": lists_of(pa.array(totals.T.ravel(), pa.float32()), lengths),
        "class_active": lists_of(pa.array(active.T.ravel(), pa.int32()), lengths),
        "classes": in_first_row(schema.entries_of(entries, part_columns.CLASS), maps),
    }


def _kept(net: Net, statistics: Statistics, seen: Seen) -> dict[str, Any]:
    """The activations of the images that are kept whole, and what is known of these."""
    maps = len(statistics.bounds)
    order = np.argsort(statistics.positions)
    positions = np.array(statistics.positions, np.int64)[order]
    kept = statistics.kept_values()
    activations, values, places = (
        of.cpu().numpy()[order].T.ravel() for of in (statistics.bounds.rectify(kept[0]), *kept)
    )
    widths = [layer.size[1] for layer in net.graph.layers for _ in range(layer.maps)]
    width = np.repeat(widths, len(order))
    columns = {
        "activation": activations,
        "before_rectification": pa.array(values, mask=values == activations),
        "y": places // width,
        "x": places % width,
    }
    samples = samples_of(seen.pictures, positions)
    lots = pa.array(np.array(statistics.lots, np.float64)[order])
    fields = [*samples.flatten(), lots]
    known = pa.StructArray.from_arrays(fields, fields=list(part_columns.KEPT_SAMPLE))
    return {
        "kept": lists_of(
            schema.entries_of(columns, part_columns.KEPT_ENTRY), np.full(maps, len(order))
        ),
        "kept_samples": in_first_row(known, maps),
    }
