"""Reduced precision against exact mining: how fast it screens, and how much it must look at again.

How much that is depends on how many images there are for each winner: nearly all images of a
small set win something. So it is measured for several such numbers, on random choices of maps.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.bench.figures import Block, Column, Figure, Finding, combined
from pipeline.bench.order import TOP_K, Order, Subject, load, mine, run_store, subject
from pipeline.bench.rounds import CPU, RATE, Speed, one_core, rounds
from pipeline.core.heaps.certificate import first_look, judge, kept, scale_of_errors
from pipeline.data.batches import Batch
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.samples import Sample
from pipeline.stages.mine import Miner, mine_part
from pipeline.stages.mine import mine as stream
from pipeline.terminal import progress

_EXACT, _SCREENING = "exact", "screening"
_AGAINST = Column("against_exact", "against\nexact", 2)
_LOOKED_AT = Column("looked_at_again", "images looked\nat again", 3)
_IN_ALL = Column("in_all", "in all, against\nexact", 2)
_CERTIFIED = Column("certified", "maps\ncertified", 4)
_MOST_IMAGES = {True: 256, False: 8192}  # whether short
_PER_WINNER = (1, 4, 16, 64, 256, 1024)
_NOTES = (
    "In all: screening, and exact mining of what is looked at again. Images per winner: of the",
    "dataset, for each feature map and rank; ImageNet's training set has 124 for AlexNet's five",
    "layers with nine winners each. Repeats are choices of maps.",
)

Values = NDArray[np.float32]


def bench_precision(order: Order) -> Iterator[Finding]:
    """Speed, and then the share that is looked at again, net by net."""
    for net in order.nets:
        one = subject(order, net)
        with one_core():
            speeds = rounds(_rivals(one, order), order.repeats, f"precision of {net}")
            yield _speeds(one, speeds)
            images, values = _both(net, order)
        yield _looks(one, images, *values, speeds, order.repeats)


def _rivals(one: Subject, order: Order) -> dict[str, Any]:
    dataset, run, net = open_dataset(one.data), run_store(order), load(one.net)
    exact, screening = Miner.exact(net), Miner.screening(net)

    def screen() -> int:
        parts = dataset.parts()
        return sum(mine_part([screening], dataset, p, [run], TOP_K).images for p in parts)

    def mining() -> int:
        return sum(mine(exact, dataset, part, run) for part in dataset.parts())

    return {_EXACT: mining, _SCREENING: screen}


def _speeds(one: Subject, speeds: dict[str, Speed]) -> Finding:
    rows = {name: speed.row() for name, speed in speeds.items()}
    rows[_SCREENING][_AGAINST.key] = speeds[_SCREENING].rate / speeds[_EXACT].rate
    title = f"Precision of {one.net}: {one.images} images, all layers, k = {TOP_K}, one core"
    return Block(title, (RATE, CPU, _AGAINST), rows, {"net": one.net}).finding()


# --- what is looked at again ------------------------------------------------------------------


def _both(net: str, order: Order) -> tuple[int, tuple[Values, Values]]:
    """How many images, and their screened and exact values (M, N)."""
    dataset = open_dataset(order.data or order.shards(1, len(order.pictures)))
    loaded = load(net)
    found = [
        _values(miner, dataset, _MOST_IMAGES[order.short], f"values of {net}")
        for miner in (Miner.screening(loaded), Miner.exact(loaded))
    ]
    return found[0].shape[1], (found[0], found[1])


def _values(miner: Miner, dataset: Dataset, most: int, what: str) -> Values:
    some: list[Values] = []

    def read() -> Iterator[tuple[int, Sample]]:
        samples = (sample for part in dataset.parts() for sample in dataset.read(part))
        return enumerate(islice(samples, most))

    with progress(f"{what}, images", most) as advance:

        def keep(batch: Batch, values: Tensor) -> None:
            some.append(values.numpy())
            advance(len(batch.pictures))

        stream([miner], [miner.heaps(1)], read, kept=keep)
    return np.concatenate(some).T


def _looks(
    one: Subject,
    images: int,
    screened: Values,
    exact: Values,
    speeds: dict[str, Speed],
    repeats: int,
) -> Finding:
    cost = speeds[_SCREENING].cpu / speeds[_EXACT].cpu
    rows: dict[str, dict[str, Figure]] = {}
    generator = np.random.default_rng(0)
    for per_winner in _PER_WINNER:
        maps = images // (TOP_K * per_winner)
        if not 1 <= maps <= len(exact):
            continue
        tried = [
            _looked_at(screened[some], exact[some])
            for some in (generator.choice(len(exact), maps, replace=False) for _ in range(repeats))
        ]
        shares, certified = (Figure(tuple(values)) for values in zip(*tried, strict=True))
        rows[f"{per_winner} images per winner"] = {
            _LOOKED_AT.key: shares,
            _IN_ALL.key: combined(lambda screen, share: 1 / (screen + share), cost, shares),
            _CERTIFIED.key: certified,
        }
    title = f"Looking again, {one.net}: {images} images"
    return Block(title, (_LOOKED_AT, _IN_ALL, _CERTIFIED), rows, {"net": one.net}, _NOTES).finding()


def _looked_at(screened: Values, exact: Values) -> tuple[float, float]:
    """The share of the images that is looked at, and that of the maps that are certified."""
    maps, images = screened.shape
    order = np.argsort(-screened, axis=1, kind="stable")
    candidates, true = (np.take_along_axis(values, order, 1) for values in (screened, exact))
    seen = np.zeros(images, bool)
    wanted = np.broadcast_to(np.arange(images) < first_look(TOP_K), screened.shape)
    nobody = np.zeros((maps, 1), np.int64), np.full((maps, 1), -np.inf, np.float32)
    while wanted.any():
        seen[order[wanted]] = True
        known = np.where(seen[order], true, np.nan)
        near = (known - candidates)[:, : kept(TOP_K)]
        best = np.sort(np.where(seen, exact, 0).clip(min=0), axis=1)[:, -TOP_K]
        verdict = judge(candidates, seen[order], *nobody, best, scale_of_errors(near))
        wanted = verdict.wanted
    return float(seen.mean()), float(verdict.certified.mean())
