"""How fast projection is: on the windows that winners see, against whole images.

One winner an image, which is the most common case. The rival is autograd with the deconvnet's
rule (a ReLU passes what is positive of its gradient), the net cut off at the layer, channels
last, in the batches that suit it best: forward over the whole images, backward over whole maps.
Beside it stands what one would write by hand: a winner at a time.

One core, interleaved and repeated, because machines drift: the ratios hold where the times do
not. Times are processor seconds and end with the projections; encoding them is left out. Beside
the measured ratio stands its limit, the ratio of the multiply-adds that both ways need: a window
is counted as far as it lies in the map, for each winner alone.
"""

import copy
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, fx, nn

from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.steps import is_relu
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.projection.clipping import Clipping, multiply_adds
from pipeline.core.projection.deconvnet import Seeds, project_on_windows
from pipeline.data.weights.load import load_net

NETS = ("alexnet", "vgg16")
_BATCHES = (1, 4, 8)


@dataclass(frozen=True)
class ProjectionFigure:
    """The speed of one layer; times are processor seconds for one winner, one per repeat.

    Attributes:
        net: whose.
        layer: which.
        winners: how many, each of another image; one in four at the border, the rest anywhere.
        batch: images in a batch of the full way: the fastest of several.
        single: forward and backward for one winner at a time.
        full: the same in batches.
        windows: only what the winner sees.
        limit: how many times faster than `full` that can be, by multiply-adds.
    """

    net: str
    layer: str
    winners: int
    batch: int
    single: list[float]
    full: list[float]
    windows: list[float]
    limit: float

    @property
    def ratio(self) -> float:
        """How many times faster than the full way, median over the repeats."""
        pairs = zip(self.full, self.windows, strict=True)
        return statistics.median(full / windows for full, windows in pairs)

    @property
    def ratio_to_single(self) -> float:
        """How many times faster than a winner at a time, median over the repeats."""
        pairs = zip(self.single, self.windows, strict=True)
        return statistics.median(single / windows for single, windows in pairs)

    @property
    def share(self) -> float:
        """Of the limit."""
        return self.ratio / self.limit


def bench_projection(
    nets: Sequence[str] = NETS, repeats: int = 5, short: bool = False
) -> list[ProjectionFigure]:
    """Measure both ways, interleaved, on noise and random weights; speed depends on neither.

    Args:
        nets: by name.
        repeats: how often both are measured.
        short: every third layer alone, of fewer winners.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [one for name in nets for one in _measure_net(name, repeats, short)]
    finally:
        torch.set_num_threads(threads)


def _measure_net(name: str, repeats: int, short: bool) -> list[ProjectionFigure]:
    graph = load_net(name, "random:0").net.graph
    by_hand = copy.deepcopy(graph.trunk)
    graph.trunk.to(memory_format=torch.channels_last)
    layers = graph.layers[len(graph.layers) - 1 :: -3][::-1] if short else graph.layers
    winners = 8 if short else 32
    _, height, width = next(iter(graph.steps.values())).shape
    images = torch.randn(winners, 3, height, width, generator=torch.Generator().manual_seed(0))
    figures = []
    for layer in layers:
        single = _Autograd(Graph(by_hand, graph.steps, graph.layers), layer)
        figures.append(_measure(name, graph, layer, single, images, repeats))
    return figures


def _measure(
    name: str, graph: Graph, layer: Layer, single: "_Autograd", images: Tensor, repeats: int
) -> ProjectionFigure:
    seeds = _winners(layer, len(images))
    full = _Autograd(graph, layer)
    laid_out = images.contiguous(memory_format=torch.channels_last)
    for batch in _BATCHES:  # warm
        full.seconds(laid_out, seeds, batch, batch)
    speeds = {batch: full.seconds(laid_out, seeds, batch, batch) for batch in _BATCHES}
    batch = min(speeds, key=speeds.__getitem__)
    single.seconds(images, seeds, 1, 1)
    _on_windows(graph, layer, laid_out, seeds)
    times: dict[str, list[float]] = {"single": [], "full": [], "windows": []}
    for _ in range(repeats):
        times["single"].append(single.seconds(images, seeds, 1, 4))
        times["full"].append(full.seconds(laid_out, seeds, batch, 8))
        times["windows"].append(_on_windows(graph, layer, laid_out, seeds))
    work = Clipping(graph, layer).work(seeds.y.numpy(), seeds.x.numpy())
    whole = multiply_adds(graph.only([layer.name]))[layer.name]
    return ProjectionFigure(
        name, layer.name, len(images), batch, **times, limit=whole / float(work.mean())
    )


def _winners(layer: Layer, count: int) -> Seeds:
    """One for each image; every fourth at the border."""
    generator = torch.Generator().manual_seed(1)
    y, x, maps = (
        torch.randint(most, (count,), generator=generator) for most in (*layer.size, layer.maps)
    )
    y[::8], x[4::8] = 0, layer.size[1] - 1
    return Seeds(torch.arange(count), maps, y, x)


def _on_windows(graph: Graph, layer: Layer, images: Tensor, seeds: Seeds) -> float:
    """Processor seconds for a winner."""
    start = time.process_time()
    project_on_windows(graph, layer, images, seeds)
    return (time.process_time() - start) / len(seeds)


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.relu_()

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clamp_min(0)


def _rectified(x: Tensor, inplace: bool) -> Tensor:
    rectified: Tensor = _Rectified.apply(x if inplace else x.clone())
    return rectified


class _Autograd:
    """The full way: a net cut off at one layer, whose ReLU goes back as the deconvnet's does."""

    def __init__(self, graph: Graph, layer: Layer) -> None:
        cut = graph.only([layer.name])
        modules: dict[str, nn.Module] = dict(cut.trunk.named_modules())
        for node in cut.trunk.graph.nodes:
            if isinstance(node, fx.Node) and is_relu(node, modules):
                node.target = _rectified
        cut.trunk.recompile()
        cut.trunk.requires_grad_(False)
        self.trunk, self.field = cut.trunk, receptive_field(graph, layer)

    def seconds(self, images: Tensor, seeds: Seeds, batch: int, winners: int) -> float:
        """Processor seconds for a winner, over the first so many."""
        start = time.process_time()
        for first in range(0, winners, batch):
            self.project(images[first : first + batch], seeds[first : first + batch])
        return (time.process_time() - start) / winners

    def project(self, images: Tensor, seeds: Seeds) -> list[Tensor]:
        """The projections of one winner of each image."""
        images = images.detach().requires_grad_()
        (maps,) = self.trunk(images)
        at = (torch.arange(len(images)), seeds.feature_map, seeds.y, seeds.x)
        signal = torch.zeros_like(maps)
        signal[at] = maps.detach()[at]
        (whole,) = torch.autograd.grad(maps, images, signal)
        size = (images.shape[2], images.shape[3])
        boxes = self.field.boxes(seeds.y.numpy(), seeds.x.numpy(), size)
        return [
            one[:, top:bottom, left:right]
            for one, (top, left, bottom, right) in zip(whole, boxes.tolist(), strict=True)
        ]


def table(figures: Sequence[ProjectionFigure]) -> Table:
    """For the terminal."""
    made = Table(
        "", "", "one at a time, ms", "full, ms", "windows, ms",
        "to one at a time", "ratio", "limit", "share",
        title="projection of one winner, one core", box=None, title_justify="left",
    )  # fmt: skip
    for one in figures:
        made.add_row(
            one.net,
            one.layer,
            f"{1000 * statistics.median(one.single):.1f}",
            f"{1000 * statistics.median(one.full):.1f}",
            f"{1000 * statistics.median(one.windows):.2f}",
            f"{one.ratio_to_single:.2f}",
            f"{one.ratio:.2f}",
            f"{one.limit:.2f}",
            f"{one.share:.2f}",
        )
    return made


def to_json(figures: Sequence[ProjectionFigure]) -> str:
    """For machines."""
    return json.dumps(
        [
            {
                **asdict(one),
                "ratio": one.ratio,
                "ratio_to_single": one.ratio_to_single,
                "share": one.share,
            }
            for one in figures
        ],
        indent=2,
    )
