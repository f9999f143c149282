"""Reduced precision against exact mining: how fast it screens, and how much it must look at again.

How much that is depends on how many images there are for each winner: nearly all images of a
small set win something. So it is measured for several such numbers, on random choices of maps.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pipeline.bench.order import TOP_K, Order, load, mining, samples_of
from pipeline.bench.printer import Column, Finding, Row
from pipeline.bench.runner import CPU, RATE, SPEED, one_core, rounds
from pipeline.core.heaps.certificate import first_look, judge, scale_of_errors, screen_depth
from pipeline.data.batches import batches
from pipeline.stages.mine import Miner
from pipeline.terminal import progress

_COLUMNS = {**SPEED, "against_exact": Column("against\nexact", 2)}
_LOOKS = {
    "looked_at_again": Column("images looked\nat again", 3),
    "in_all": Column("in all, against\nexact", 2),
    "certified": Column("maps\ncertified", 4),
}
_MOST_IMAGES = {True: 256, False: 8192}  # whether short
_PER_WINNER = (1, 4, 16, 64, 256, 1024)
_NOTES = (
    "In all: screening, and exact mining of what is looked at again. Images per winner: of the",
    "dataset, for each feature map and rank; ImageNet's training set has 124 for AlexNet's five",
    "layers with nine winners each. Repeats are choices of maps.",
)

Values = NDArray[np.float32]


def measure(order: Order) -> Iterator[Finding]:
    """Speed, and then the share that is looked at again."""
    net, facts = load(order.net), {"net": order.net}
    miners = {"exact": Miner.exact(net), "screening": Miner.screening(net)}
    works = {name: mining(miner, order.dataset, order.run) for name, miner in miners.items()}
    with one_core():
        rows = rounds(works, order.repeats, f"precision of {order.net}")
    exact, screening = rows["exact"], rows["screening"]
    screening["against_exact"] = screening[RATE] / exact[RATE]
    title = f"Precision of {order.net}: {order.images} images, all layers, k = {TOP_K}, one core"
    yield Finding(title, _COLUMNS, rows, facts)
    with one_core():
        values = {name: _values(miner, order) for name, miner in miners.items()}
    looks = _looks(values["screening"], values["exact"], screening[CPU] / exact[CPU])
    title = f"Looking again, {order.net}: {values['exact'].shape[1]} images"
    yield Finding(title, _LOOKS, looks, facts, _NOTES)


def _values(miner: Miner, order: Order) -> Values:
    """(M, N) of every feature map on the first images."""
    most = _MOST_IMAGES[order.short]
    samples = enumerate(islice(samples_of(order.source()), most))
    values = []
    with progress(f"values of {order.net}, images", most) as advance:
        for batch in batches(samples, [miner.stream]):
            values.append(miner.maxima(batch.images)[0][: len(batch.pictures)].numpy())
            advance(len(batch.pictures))
    return np.concatenate(values).T


def _looks(screened: Values, exact: Values, cost: NDArray[np.float64]) -> dict[str, Row]:
    """What is looked at again, by images per winner; `cost` is screening's against exact mining."""
    rows = {}
    generator = np.random.default_rng(0)
    for per_winner in _PER_WINNER:
        count = exact.shape[1] // (TOP_K * per_winner)
        if 1 <= count <= len(exact):
            chosen = [generator.choice(len(exact), count, replace=False) for _ in cost]
            looks = np.array([_looked_at(screened[maps], exact[maps]) for maps in chosen])
            row = {"looked_at_again": looks[:, 0], "certified": looks[:, 1]}
            row["in_all"] = 1 / (cost + looks[:, 0])
            rows[f"{per_winner} images per winner"] = row
    return rows


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
        near = (known - candidates)[:, : screen_depth(TOP_K)]
        best = np.sort(np.where(seen, exact, 0).clip(min=0), axis=1)[:, -TOP_K]
        verdict = judge(candidates, seen[order], *nobody, best, scale_of_errors(near))
        wanted = verdict.wanted
    return float(seen.mean()), float(verdict.certified.mean())
