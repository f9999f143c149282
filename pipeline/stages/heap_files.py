"""What stage 1 stores of a part, as tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.core.heaps.topk import NOBODY, Heaps
from pipeline.core.nets.known import Net
from pipeline.data.batches import Picture, Seen
from pipeline.data.store import Store


def write_skipped(run: Store, part: str, seen: Seen) -> None:
    """Store the samples of a part that could not be used; nothing where all could."""
    rows = [
        {"shard": picture.sample.shard, "key": picture.sample.key, "reason": picture.problem}
        for picture in seen.skipped
    ]
    if rows:
        table = pa.Table.from_pylist(rows, schema=schema.SKIPPED_SAMPLE)
        run.write_table(schema.skipped_name(part), table)


def _samples_table(pictures: Sequence[Picture]) -> pa.Table:
    rows = [
        {
            "shard": picture.sample.shard,
            "key": picture.sample.key,
            "offset": picture.sample.offset,
            "length": picture.sample.length,
            "label": picture.sample.label,
            "class_name": picture.sample.class_name,
            "height": picture.size[0],
            "width": picture.size[1],
        }
        for picture in pictures
    ]
    return pa.Table.from_pylist(rows, schema=schema.SAMPLES)


def heap_table(net: Net, heaps: Heaps, seen: Seen) -> pa.Table:
    """One row per feature map of all layers, its winners as a list in the order of rank."""
    layers = net.graph.layers
    taken = (heaps.samples != NOBODY).cpu().numpy()
    places = heaps.places.cpu().numpy()[taken]
    maps = np.array([layer.maps for layer in layers])
    widths = np.repeat([layer.size[1] for layer in layers], maps)[taken.nonzero()[0]]
    winners = _entries(
        seen.pictures,
        heaps.samples.cpu().numpy()[taken],
        heaps.activations.cpu().numpy()[taken],
        places // widths,
        places % widths,
    )
    columns = _map_columns(net, heaps) | {"winners": lists_of(winners, taken.sum(1))}
    return _of_part(schema.table_of(columns, schema.HEAP), seen)


def screen_table(net: Net, heaps: Heaps, seen: Seen) -> pa.Table:
    """One row per feature map of all layers, what screening keeps as a list in falling order."""
    taken = (heaps.samples != NOBODY).cpu().numpy()
    arrays = [heaps.activations.cpu().numpy()[taken], heaps.samples.cpu().numpy()[taken]]
    entries = pa.StructArray.from_arrays(
        [pa.array(array) for array in arrays], fields=list(schema.SCREENED)
    )
    columns = _map_columns(net, heaps) | {"kept": lists_of(entries, taken.sum(1))}
    return _of_part(schema.table_of(columns, schema.SCREEN_HEAP), seen)


def lists_of(entries: pa.StructArray, lengths: NDArray[np.integer]) -> pa.ListArray:
    """Entries that follow one another as lists of these lengths (M,)."""
    ends = np.concatenate([[0], lengths.cumsum()])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), entries)


def _map_columns(net: Net, heaps: Heaps) -> dict[str, Any]:
    """Layer, number and statistics of every feature map."""
    maps = [layer.maps for layer in net.graph.layers]
    return {
        "layer": np.repeat([layer.name for layer in net.graph.layers], maps),
        "feature_map": np.concatenate([np.arange(count) for count in maps]),
        "images": np.full(sum(maps), heaps.images),
        "active": heaps.active.cpu().numpy(),
        "max": heaps.peak.cpu().numpy(),
        "total": heaps.total.cpu().numpy(),
        "total_squares": heaps.total_squares.cpu().numpy(),
    }


def _of_part(table: pa.Table, seen: Seen) -> pa.Table:
    """The table of a part, which tells how many samples the part has."""
    return table.replace_schema_metadata({schema.SAMPLES_IN_PART: str(len(seen))})


def _entries(
    pictures: Sequence[Picture],
    positions: NDArray[np.int64],
    activations: NDArray[np.float32],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
) -> pa.StructArray:
    used = np.array([picture.position for picture in pictures], np.int64)
    sources = _samples_table(pictures).take(np.searchsorted(used, positions))
    columns = {
        "activation": pa.array(activations),
        "y": pa.array(y),
        "x": pa.array(x),
        "sample": pa.array(positions),
        **{name: sources[name].combine_chunks() for name in sources.column_names},
    }
    fields = list(schema.HEAP_ENTRY)
    arrays = [columns[field.name].cast(field.type) for field in fields]
    return pa.StructArray.from_arrays(arrays, fields=fields)
