"""Between the stages: the heaps of all parts become the winners and the feature maps' table."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.config import LayerSpec, RunSpec
from pipeline.data.store import Store
from pipeline.errors import IncompleteError, RequestError
from pipeline.stages.mine import SAMPLES_IN_PART

_READ_AHEAD = 8
_MOST_WAITING = 2**20
"""Rows that are collected before they are sorted into the winners so far."""

_STATISTICS = ("images", "active", "max", "total", "total_squares")


def merge(run: Store, spec: RunSpec, parts: Sequence[str]) -> None:
    """Merge the heaps of these parts, given in the order of the dataset.

    A sample's position in the dataset is its position in its part plus the samples of all parts
    before; ranks follow from it and the activation alone, so they do not depend on how the
    dataset was cut up, nor on who mined what.

    Raises:
        RequestError: no image of the dataset could be used.
        IncompleteError: a heap file cannot be read.
        WriteError: a result could not be stored.
    """
    entries: list[pa.Table] = []
    statistics: list[pa.Table] = []
    before = 0
    for heap in _heaps(run, parts):
        samples = int(heap.schema.metadata[SAMPLES_IN_PART])
        entries.append(_explode(heap, before))
        if sum(map(len, entries[1:])) > max(_MOST_WAITING, len(entries[0])):
            entries = [_best(entries, spec.top_k)]
        statistics.append(heap.select(["layer", "feature_map", *_STATISTICS]))
        before += samples
    feature_maps = _summed(statistics)
    if pc.max(feature_maps["images"]).as_py() == 0:
        raise RequestError(_nothing_usable(run, spec, parts))
    winners = _best(entries, spec.top_k)
    for layer in spec.layers:
        rows = winners.filter(pc.equal(winners["layer"], layer.name))
        run.write_table(schema.winners_name(layer.name), _with_boxes(rows, layer, spec))
    run.write_table(schema.FEATURE_MAPS, feature_maps)


def _heaps(run: Store, parts: Sequence[str]) -> Iterator[pa.Table]:
    """The heap tables in the order of the parts, a few read ahead."""

    def read(part: str) -> pa.Table:
        name = schema.heap_name(part)
        try:
            with run.open(name) as stream:
                return pq.ParquetFile(stream).read()
        except (pa.ArrowInvalid, FileNotFoundError) as error:
            raise IncompleteError(
                f"{run.url}/{name} is damaged or gone ({error}); remove what is left of it and "
                "give the same command again."
            ) from error

    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        for first in range(0, len(parts), _READ_AHEAD):
            yield from pool.map(read, parts[first : first + _READ_AHEAD])


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
    )  # fmt: skip


def _best(tables: Sequence[pa.Table], top_k: int) -> pa.Table:
    """The first `top_k` of each feature map in the total order; sorted by map, then by it."""
    rows = pa.concat_tables(tables)
    order = pc.sort_indices(
        rows,
        [
            ("layer", "ascending"),
            ("feature_map", "ascending"),
            ("activation", "descending"),
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
    columns = {name: rows[name] for name in rows.column_names}
    columns["rank"] = pa.array(_ranks(rows))
    for i, side in enumerate(("top", "left", "bottom", "right")):
        columns[side], columns[f"source_{side}"] = pa.array(boxes[:, i]), pa.array(source[:, i])
    return pa.Table.from_arrays(
        [columns[field.name].cast(field.type) for field in schema.WINNER], schema=schema.WINNER
    )


def _summed(statistics: Sequence[pa.Table]) -> pa.Table:
    """The statistics of all parts, added up in the order of the parts: the same sums always."""
    arrays = {
        name: np.stack([table[name].to_numpy() for table in statistics]) for name in _STATISTICS
    }
    images = arrays["images"].sum(0)
    with np.errstate(invalid="ignore"):  # no images at all is refused by the caller
        mean = arrays["total"].sum(0) / images
        variance = arrays["total_squares"].sum(0) / images - mean**2
    columns = {
        "layer": statistics[0]["layer"],
        "feature_map": statistics[0]["feature_map"],
        "images": pa.array(images),
        "active": pa.array(arrays["active"].sum(0)),
        "max": pa.array(arrays["max"].max(0)),
        "mean": pa.array(mean),
        "std": pa.array(np.sqrt(np.maximum(variance, 0))),
    }
    return pa.Table.from_arrays(
        [columns[field.name].cast(field.type) for field in schema.FEATURE_MAP],
        schema=schema.FEATURE_MAP,
    )


def _nothing_usable(run: Store, spec: RunSpec, parts: Sequence[str]) -> str:
    reasons = [
        run.read_table(name)["reason"][0].as_py()
        for name in map(schema.skipped_name, parts)
        if run.exists(name)
    ]
    why = f", the first one because: {reasons[0]}" if reasons else ""
    return f"No image of {spec.data} could be used{why}; {run.url}/skipped lists them all."
