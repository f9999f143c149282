"""What merging costs: the heaps of as many parts as ImageNet has, in one process.

The heaps are made up. So many parts differ as are drawn, and then come again: a part's bytes, and
how many winners lie in how many parts, are those of a real run, and the time it takes with them.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.bench.order import TOP_K, Order, load
from pipeline.bench.printer import Column, Finding
from pipeline.bench.runner import at_once
from pipeline.bench.sections.memory import peak_of_this_process
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.nets.known import Net
from pipeline.data.store import Store
from pipeline.data.stored.results import read_parts
from pipeline.stages.heap_files import lists_of
from pipeline.stages.merge import merge
from pipeline.stages.ranking import RANKING, STATISTICS

MANY, _MOST_OF_MANY = 1000, 2000
"""Winners of each map, and the maps of a net up to which there are so many."""

_IMAGES = 1000  # in a part
_PARTS, _DIFFERENT = {True: 64, False: 1281}, 32
_COLUMNS = {
    "seconds": Column("seconds", 1),
    "bound": Column("reading\nthe numbers, s", 1),
    "share": Column("bound /\nseconds", 2),
    "peak": Column("peak,\nMiB", 0),
    "before": Column("of it\nbefore", 0),
    "gigabytes": Column("heaps,\nGB", 2),
}
_NOTES = (
    "One process does all layers, one after the other; on a cluster each share of them is a task.",
    "Its peak is the most that it ever held; before it began, all that it imports.",
)


def measure(order: Order) -> Iterator[Finding]:
    """Merging nine winners, and a thousand, of as many parts as ImageNet has."""
    net, parts = load(order.net), _PARTS[order.short]
    maps = sum(layer.maps for layer in net.graph.layers)
    rows = {}
    for top_k in (TOP_K,) if order.short or maps > _MOST_OF_MANY else (TOP_K, MANY):
        run = Store(order.folder / f"merging-{net.name}-{top_k}")
        names, size = _heaps(net, run, parts, top_k)
        spec = _spec(net, top_k)
        ((bound, *_),) = at_once([partial(_timed, _read_numbers, run, spec, names)])
        ((seconds, before, peak),) = at_once([partial(_timed, merge, run, spec, names)])
        rows[f"k = {top_k}"] = {
            "seconds": seconds, "bound": bound, "share": bound / seconds, "peak": peak,
            "before": before, "gigabytes": size / 1e9,
        }  # fmt: skip
        for name in run.list(schema.HEAPS):
            run.remove(name)
    title = f"Merging {parts} parts of {net.name}: {maps:,} feature maps"
    yield Finding(title, _COLUMNS, rows, {"net": net.name, "parts": parts, "maps": maps}, _NOTES)


def _heaps(net: Net, run: Store, parts: int, top_k: int) -> tuple[list[str], int]:
    """Heap files of so many parts; their names, and the bytes of all."""
    names = [f"part-{number:05d}" for number in range(parts)]
    for number, name in enumerate(names):
        if number < _DIFFERENT:
            run.write_table(schema.heap_name(name), _heap(net, number, top_k), by="layer")
        else:
            source = run.path(schema.heap_name(names[number % _DIFFERENT]))
            os.link(source, run.path(schema.heap_name(name)))
    return names, sum(run.list(schema.HEAPS).values())


def _heap(net: Net, number: int, top_k: int) -> pa.Table:
    dice = np.random.default_rng(number)
    layers = net.graph.layers
    maps = sum(layer.maps for layer in layers)
    entries = min(top_k, _IMAGES)
    values = -np.sort(-dice.gamma(2.0, 4.0, (maps, entries)).astype(np.float32), axis=1)
    samples = dice.permuted(np.tile(np.arange(_IMAGES), (maps, 1)), axis=1)[:, :entries].ravel()
    keys = np.array([f"n{number:08d}_{sample}.JPEG" for sample in range(_IMAGES)])
    sizes = np.repeat([layer.size for layer in layers], [layer.maps for layer in layers], axis=0)
    places = dice.integers(0, sizes.prod(1, keepdims=True), (maps, entries))
    count = maps * entries
    columns = {
        "activation": values.ravel(),
        "before_rectification": pa.nulls(count, pa.float32()),
        "y": (places // sizes[:, 1:]).ravel(),
        "x": (places % sizes[:, 1:]).ravel(),
        "sample": samples,
        "shard": np.full(count, f"s3://imagenet/train-{number:06d}.tar"),
        "key": keys[samples],
        "offset": samples * 110_000,
        "length": 100_000 + samples,
        "label": samples,
        "class_name": np.array([f"class {sample}" for sample in range(_IMAGES)])[samples],
        "width": 300 + samples,
        "height": 300 + samples,
    }
    winners = schema.entries_of(columns, schema.HEAP_ENTRY)
    of_maps = {
        "layer": np.repeat([layer.name for layer in layers], [layer.maps for layer in layers]),
        "feature_map": np.concatenate([np.arange(layer.maps) for layer in layers]),
        "images": np.full(maps, _IMAGES),
        "active": np.full(maps, _IMAGES),
        "max": values[:, 0],
        "total": values.sum(1),
        "total_squares": (values**2).sum(1),
        "winners": lists_of(winners, np.full(maps, entries)),
    }
    table = schema.table_of(of_maps, schema.HEAP)
    return table.replace_schema_metadata({schema.SAMPLES_IN_PART: str(_IMAGES)})


def _spec(net: Net, top_k: int) -> RunSpec:
    return RunSpec(
        net=net.name,
        weights="random:0",
        weights_digest="",
        classes=net.classes,
        preprocessing=net.preprocessing,
        layers=tuple(LayerSpec.of(net.graph, layer) for layer in net.graph.layers),
        top_k=top_k,
        precision="exact",
        data="made up",
        format="webdataset",
        fingerprint="",
    )


def _read_numbers(run: Store, spec: RunSpec, names: list[str]) -> None:
    """All that any way to merge must read at least once."""
    layers = [layer.name for layer in spec.layers]
    files = [schema.heap_name(name) for name in names]
    for _ in read_parts(run, files, STATISTICS + RANKING, layers):
        pass


def _timed(work: Callable[..., object], *arguments: object) -> tuple[float, float, float]:
    """The seconds that a work takes here, and the MiB that this process held before and ever."""
    before, begun = peak_of_this_process(), time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begun, before, peak_of_this_process()
