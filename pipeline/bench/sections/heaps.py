"""What the heaps cost: nine winners against a thousand, and one layer against all; on one core."""

from collections.abc import Iterator

from pipeline.bench.order import TOP_K, Order, load, mining
from pipeline.bench.printer import Column, Finding
from pipeline.bench.runner import RATE, SPEED, one_core, rounds
from pipeline.stages.mine import Miner

MANY = 1000
_COLUMNS = {**SPEED, "against_all": Column("against\nall layers", 2)}
_NOTES = (
    "All images are one part, and its heaps start empty: with more ranks than images no picture is",
    "ever turned away, which is the dearest case. A single layer needs no net beyond it.",
)


def measure(order: Order) -> Iterator[Finding]:
    """Mining with other heaps, interleaved."""
    net, images, run = order.net, order.images // 2, order.run
    dataset, whole = order.shards(1, images), Miner.exact(load(net))
    names = [layer.name for layer in whole.net.graph.layers]
    deepest, first = (Miner.exact(load(net, layers=(name,))) for name in (names[-1], names[0]))
    every = f"all {len(names)} layers, k = {TOP_K}"
    works = {
        every: mining(whole, dataset, run),
        f"all {len(names)} layers, k = {MANY}": mining(whole, dataset, run, MANY),
        f"the deepest, {names[-1]}, k = {TOP_K}": mining(deepest, dataset, run),
        f"the first, {names[0]}, k = {TOP_K}": mining(first, dataset, run),
    }
    with one_core():
        rows = rounds(works, order.repeats, f"heaps of {net}")
    for name in list(works)[1:]:
        rows[name]["against_all"] = rows[name][RATE] / rows[every][RATE]
    title = f"Heaps of {net}: {images} images mined, one core"
    yield Finding(title, _COLUMNS, rows, {"net": net, "images": images}, _NOTES)
