"""How fast occlusion is: only what changes, against every position from the pixels on.

One core, channels last, interleaved and repeated, because machines drift: the ratios hold where
the times do not. Times are processor seconds. Beside the measured ratio stands its limit, the
ratio of the multiply-adds that both ways need.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from pipeline.bench.figures import Figure, repeated
from pipeline.bench.rounds import one_thread
from pipeline.core.occlusion.occlusion import Occluder, Occlusion
from pipeline.data.weights.load import load_net

NETS = ("alexnet", "vgg16", "resnet50")
_BATCHES = (8, 32, 128)
_CAPTION = "Full: every place from the pixels on, in batches. Limit: by multiply-adds."


@dataclass(frozen=True)
class OcclusionFigure:
    """The speed of one net; times are processor seconds for one image, one per repeat.

    Attributes:
        net: whose.
        size: the occluder's side.
        stride: its stride.
        positions: how many places it has.
        batch: occluded images in a batch of the full way: the fastest of several.
        measured_positions: how many of the places the full way was timed on, and scaled from.
        full: every position from the pixels on, batched.
        incremental: only what changes.
        limit: how many times faster that can be, by multiply-adds.
    """

    net: str
    size: int
    stride: int
    positions: int
    batch: int
    measured_positions: int
    full: list[float]
    incremental: list[float]
    limit: float

    @property
    def ratios(self) -> Figure:
        """How many times faster."""
        return Figure(tuple(self.full)) / Figure(tuple(self.incremental))

    @property
    def ratio(self) -> float:
        """The same, median over the repeats."""
        return self.ratios.median

    @property
    def share(self) -> float:
        """Of the limit."""
        return self.ratio / self.limit


def bench_occlusion(
    nets: Sequence[str] = NETS,
    repeats: int = 5,
    short: bool = False,
    size: int = 27,
    stride: int = 7,
) -> list[OcclusionFigure]:
    """Measure both ways, interleaved, on noise and random weights; speed depends on neither.

    Args:
        nets: by name.
        repeats: how often both are measured.
        short: twice the stride; and time the full way on a few batches and scale it to all
            places, each of which takes it as long, else on all of them. The other way is always
            measured whole.
        size: the occluder's side.
        stride: its stride.
    """
    occluder = Occluder(size, 2 * stride if short else stride)
    with one_thread():
        return [_measure(name, repeats, short, occluder) for name in nets]


def _measure(name: str, repeats: int, short: bool, occluder: Occluder) -> OcclusionFigure:
    net = load_net(name, "random:0").net
    assert net.module is not None
    net.module.to(memory_format=torch.channels_last)
    plan = Occlusion(net.module, net.graph.layers[-1], net.preprocessing.input_size, occluder)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, *net.preprocessing.input_size, generator=generator)
    positions = len(plan.tops) * len(plan.lefts)
    speeds = {batch: _full(plan, image, batch, batch) for batch in _BATCHES}
    batch = min(speeds, key=speeds.__getitem__)
    some = min(positions, max(batch, 64)) if short else positions
    full, incremental = [], []
    plan.measure(image)  # warm
    for _ in range(repeats):
        full.append(_full(plan, image, batch, some) * positions)
        start = time.process_time()
        plan.measure(image)
        incremental.append(time.process_time() - start)
    return OcclusionFigure(
        net=name,
        size=occluder.size,
        stride=occluder.stride,
        positions=positions,
        batch=batch,
        measured_positions=some,
        full=full,
        incremental=incremental,
        limit=plan.operations().limit,
    )


def _full(plan: Occlusion, image: Tensor, batch: int, positions: int) -> float:
    """Processor seconds for a position of the full way."""
    y, x = (grid.ravel()[:positions] for grid in np.indices((len(plan.tops), len(plan.lefts))))
    start = time.process_time()
    with torch.inference_mode():
        for _ in plan.fully(image, 0, 0, batch, (y, x)):
            pass
    return (time.process_time() - start) / len(y)


def table(figures: Sequence[OcclusionFigure]) -> Table:
    """For the terminal."""
    caption = f"{_CAPTION}\n{repeated(len(figures[0].full))}"
    made = Table(
        "", "occluder", "full\nCPU s", "incremental\nCPU s", "ratio", "limit", "share\nof limit",
        title="Occlusion of one image, one core", box=None, title_justify="left",
        title_style="bold", caption=caption, caption_justify="left",
    )  # fmt: skip
    for column in made.columns[2:]:
        column.justify = "right"
    for one in figures:
        made.add_row(
            one.net,
            f"{one.size}/{one.stride}, {one.positions} places",
            Figure(tuple(one.full)).shown(2),
            Figure(tuple(one.incremental)).shown(2),
            one.ratios.shown(2),
            f"{one.limit:.2f}",
            f"{one.share:.2f}",
        )
    return made


def to_json(figures: Sequence[OcclusionFigure]) -> str:
    """For machines."""
    return json.dumps(
        [{**asdict(one), "ratio": one.ratio, "share": one.share} for one in figures], indent=2
    )
