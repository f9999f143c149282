"""What the heaps cost: nine winners against a thousand, and one layer against all; on one core."""

from collections.abc import Iterator

from pipeline.bench.figures import Block, Column, Finding
from pipeline.bench.order import TOP_K, Order, Subject, load, mine, run_store, subject
from pipeline.bench.rounds import CPU, RATE, Rival, Speed, one_core, rounds
from pipeline.core.nets.known import Net
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.store import Store
from pipeline.stages.mine import Miner

MANY = 1000
_AGAINST = Column("against_all", "against\nall layers", 2)
_NOTES = (
    "All images are one part, and its heaps start empty: with more ranks than images no picture is",
    "ever turned away, which is the dearest case. A single layer needs no net beyond it.",
)


def bench_heaps(order: Order) -> Iterator[Finding]:
    """Mining with other heaps, interleaved."""
    for net in order.nets:
        one = subject(order, net)
        images = one.images // 2
        dataset = open_dataset(order.shards(1, images))
        with one_core():
            rivals = _rivals(one, dataset, run_store(order))
            speeds = rounds(rivals, order.repeats, f"heaps of {net}")
        yield _block(one, images, speeds)


def _rivals(one: Subject, dataset: Dataset, run: Store) -> dict[str, Rival]:
    whole = load(one.net)
    names = [layer.name for layer in whole.graph.layers]
    deepest, first = (load(one.net, layers=(name,)) for name in (names[-1], names[0]))

    def mining(net: Net, top_k: int) -> Rival:
        (part,) = dataset.parts()
        miner = Miner.exact(net)
        return lambda: mine(miner, dataset, part, run, top_k)

    return {
        f"all {len(names)} layers, k = {TOP_K}": mining(whole, TOP_K),
        f"all {len(names)} layers, k = {MANY}": mining(whole, MANY),
        f"the deepest, {names[-1]}, k = {TOP_K}": mining(deepest, TOP_K),
        f"the first, {names[0]}, k = {TOP_K}": mining(first, TOP_K),
    }


def _block(one: Subject, images: int, speeds: dict[str, Speed]) -> Finding:
    usual = next(iter(speeds))
    rows = {
        name: speed.row()
        | ({} if name == usual else {_AGAINST.key: speed.rate / speeds[usual].rate})
        for name, speed in speeds.items()
    }
    return Block(
        f"Heaps of {one.net}: {images} images mined, one core",
        (RATE, CPU, _AGAINST),
        rows,
        {"net": one.net, "images": images},
        _NOTES,
    ).finding()
