"""How fast occlusion is: only what changes, against every position from the pixels on.

One core, channels last, on noise and random weights: speed depends on neither. Times are processor
seconds for one image. Beside the measured ratio stands its limit, the ratio of the multiply-adds
that both ways need.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pipeline.bench.order import Order
from pipeline.bench.printer import LIMITED, Column, Finding, limited
from pipeline.bench.runner import CPU, Work, one_core, quickest, rounds
from pipeline.core.occlusion.occlusion import Occluder, Occlusion
from pipeline.data.weights.load import load_net

_BATCHES = (8, 32, 128)
_OCCLUDER = {True: Occluder(27, 14), False: Occluder(27, 7)}  # whether short
_SHORT_POSITIONS = 64
_COLUMNS = {
    "occluder": Column("occluder"),
    "full": Column("full\nCPU s", 2),
    "incremental": Column("incremental\nCPU s", 2),
    **LIMITED,
}
_NOTES = ("Full: every place from the pixels on, in batches. Limit: by multiply-adds.",)


def measure(order: Order) -> Iterator[Finding]:
    """Both ways, interleaved.

    In short the stride is twice as large, and the full way is timed on a few places and scaled to
    all of them, each of which takes it as long. The other way is always measured whole.
    """
    with one_core():
        net, occluder = load_net(order.net, "random:0").net, _OCCLUDER[order.short]
        assert net.module is not None
        net.module.to(memory_format=torch.channels_last)
        size = net.preprocessing.input_size
        plan = Occlusion(net.module, net.graph.layers[-1], size, occluder)
        image = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
        positions = len(plan.tops) * len(plan.lefts)
        batch = quickest({n: partial(_full, plan, image, n, n) for n in _BATCHES})
        timed = min(positions, max(batch, _SHORT_POSITIONS)) if order.short else positions
        works: dict[str, Work] = {
            "full": partial(_full, plan, image, batch, timed),
            "incremental": lambda: plan.measure(image).total.size,
        }
        works["incremental"]()  # warm; the full way is by now
        told = rounds(works, order.repeats_of_long(3), f"occlusion of {order.net}", warm=0)
    seconds = {way: row[CPU] * positions / 1000 for way, row in told.items()}
    row = limited(seconds, "full", "incremental", plan.operations().limit)
    row["occluder"] = f"{occluder.size}/{occluder.stride}, {positions} places"
    facts = {"net": order.net, "size": occluder.size, "stride": occluder.stride}
    facts |= {"positions": positions, "batch": batch, "measured_positions": timed}
    yield Finding("Occlusion of one image, one core", _COLUMNS, {order.net: row}, facts, _NOTES)


def _full(plan: Occlusion, image: Tensor, batch: int, positions: int) -> int:
    """The full way at the first positions; returns how many."""
    y, x = (grid.ravel()[:positions] for grid in np.indices((len(plan.tops), len(plan.lefts))))
    with torch.inference_mode():
        return sum(len(rows[0]) for rows in plan.fully(image, 0, 0, batch, (y, x)))
