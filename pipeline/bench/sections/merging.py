"""What merging costs: the heaps, made up, of as many parts as ImageNet has, in one process."""

import time
from collections.abc import Callable, Iterator
from functools import partial

from pipeline import schema
from pipeline.bench.made_up import MadeUp
from pipeline.bench.order import TOP_K, Order, load
from pipeline.bench.printer import Column, Finding
from pipeline.bench.runner import at_once
from pipeline.bench.sections.memory import peak_of_this_process
from pipeline.config import RunSpec
from pipeline.data.store import Store
from pipeline.data.stored.heaps import read_parts
from pipeline.stages.merging.merge import merge
from pipeline.stages.merging.ranking import RANKING, STATISTICS

MANY, _MOST_OF_MANY = 1000, 2000
"""Winners of each map, and the maps of a net up to which there are so many."""

_PARTS = {True: 64, False: 1281}
_COLUMNS = {
    "seconds": Column("seconds", 1),
    "bound": Column("reading\nthe numbers, s", 1),
    "share": Column("bound /\nseconds", 2),
    "peak": Column("peak,\nMiB", 0),
    "before": Column("of it\nbefore", 0),
    "gigabytes": Column("heaps,\nGB", 2),
    "statistics": Column("statistics,\nGB", 2),
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
        names = [f"part-{number:05d}" for number in range(parts)]
        made = MadeUp(net, run, top_k)
        for number, name in enumerate(names):
            made.put(number, name)
        folders = (schema.HEAPS, schema.STATISTICS)
        spec, sizes = made.spec, [sum(run.list(folder).values()) for folder in folders]
        ((bound, *_),) = at_once([partial(_timed, _read_numbers, run, spec, names)])
        ((seconds, before, peak),) = at_once([partial(_timed, merge, run, spec, names)])
        rows[f"k = {top_k}"] = {
            "seconds": seconds, "bound": bound, "share": bound / seconds, "peak": peak,
            "before": before, "gigabytes": sizes[0] / 1e9, "statistics": sizes[1] / 1e9,
        }  # fmt: skip
        for name in [*run.list(schema.HEAPS), *run.list(schema.STATISTICS)]:
            run.remove(name)
    title = f"Merging {parts} parts of {net.name}: {maps:,} feature maps"
    yield Finding(title, _COLUMNS, rows, {"net": net.name, "parts": parts, "maps": maps}, _NOTES)


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
