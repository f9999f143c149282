"""What stage 1 stores of a part, as tables."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import schema
from pipeline.config import Machine
from pipeline.core.heaps.topk import NOBODY, Heaps
from pipeline.core.nets.known import Net
from pipeline.data.batches import Picture, Seen
from pipeline.data.machines import machine_metadata
from pipeline.data.store import Store
from pipeline.data.stored import part_columns


def write_skipped(run: Store, part: str, seen: Seen) -> None:
    """Store the samples of a part that could not be used; nothing where all could."""
    rows = [{**asdict(skipped.sample), "reason": skipped.problem} for skipped in seen.skipped]
    if rows:
        table = pa.Table.from_pylist(rows, schema=schema.SKIPPED_SAMPLE)
        run.write_table(schema.skipped_name(part), table)


def heap_table(net: Net, heaps: Heaps, seen: Seen, machine: Machine) -> pa.Table:
    """One row per feature map of all layers, its winners as a list in the order of rank."""
    layers = net.graph.layers
    taken = (heaps.samples != NOBODY).cpu().numpy()
    places = heaps.places.cpu().numpy()[taken]
    maps = np.array([layer.maps for layer in layers])
    widths = np.repeat([layer.size[1] for layer in layers], maps)[taken.nonzero()[0]]
    positions = heaps.samples.cpu().numpy()[taken]
    values, activations = heaps.values.cpu().numpy()[taken], _activations(heaps)[taken]
    columns = {
        "activation": activations,
        "before_rectification": pa.array(values, mask=values == activations),
        "y": places // widths,
        "x": places % widths,
        "sample": positions,
    }
    winners = schema.entries_of(columns, part_columns.HEAP_ENTRY)
    lists = {
        "winners": lists_of(winners, taken.sum(1)),
        "samples": in_first_row(samples_of(seen.pictures, positions), len(taken)),
    }
    table = schema.table_of(_map_columns(net, heaps) | lists, part_columns.HEAP)
    return _of_part(table, seen, machine)


def screen_table(net: Net, heaps: Heaps, seen: Seen, machine: Machine) -> pa.Table:
    """One row per feature map of all layers, what screening keeps as a list in falling order."""
    taken = (heaps.samples != NOBODY).cpu().numpy()
    columns = {"value": heaps.values.cpu().numpy(), "sample": heaps.samples.cpu().numpy()}
    of_taken = {name: values[taken] for name, values in columns.items()}
    entries = schema.entries_of(of_taken, part_columns.SCREENED)
    columns = _map_columns(net, heaps) | {"kept": lists_of(entries, taken.sum(1))}
    return _of_part(schema.table_of(columns, part_columns.SCREEN_HEAP), seen, machine)


def _activations(heaps: Heaps) -> NDArray[np.float32]:
    """(M, K) what the values in the heaps are after rectification."""
    activations: NDArray[np.float32] = heaps.bounds.rectify(heaps.values.T).T.cpu().numpy()
    return activations


def ranking_values(entries: pa.Table) -> NDArray[np.float32]:
    """What winners are ranked by: the value before rectification, where that cut it off."""
    before, activations = (entries[name] for name in schema.RANKED_BY)
    values: NDArray[np.float32] = pc.coalesce(before, activations).to_numpy()
    return values


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


def _of_part(table: pa.Table, seen: Seen, machine: Machine) -> pa.Table:
    """The table of a part, which tells of its samples, what to say of them, and who mined it."""
    facts = {schema.SAMPLES_IN_PART: str(len(seen)), schema.REMARKS: json.dumps(seen.remarks)}
    return table.replace_schema_metadata(facts | machine_metadata(machine))


def samples_of(pictures: Sequence[Picture], positions: NDArray[np.int64]) -> pa.StructArray:
    """Where the samples at these positions of the part are, and what they are; each once."""
    wanted = {*np.unique(positions).tolist()}
    rows = [
        {
            **asdict(picture.sample),
            "sample": picture.position,
            "height": picture.size[0],
            "width": picture.size[1],
        }
        for picture in pictures
        if picture.position in wanted
    ]
    known = pa.Table.from_pylist(rows, pa.schema(list(part_columns.SAMPLE)))
    return known.to_struct_array().combine_chunks()


def remarks_of(table: pa.Table) -> list[str]:
    """What there is to say of a part's data."""
    said: list[str] = json.loads(table.schema.metadata.get(schema.REMARKS, b"[]"))
    return said


def in_first_row(samples: pa.StructArray, rows: int) -> pa.ListArray:
    """What is known of samples as a column of a table of so many rows."""
    return lists_of(samples, np.array([len(samples), *[0] * (rows - 1)]))
