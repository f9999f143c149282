"""How fast projection is: on the windows that winners see, against whole images.

One winner an image, which is the most common case. The rival is autograd with the deconvnet's
rule, the net cut off at the layer, channels last, in the batches that suit it best: forward over
the whole images, backward over whole maps. Beside it stands what one would write by hand: a winner
at a time. Noise and random weights: speed depends on neither.

Times are processor seconds for a winner and end with the projections; encoding them is left out.
The limit of the ratio is that of the multiply-adds which both ways need: a window is counted as
far as it lies in the map, for each winner alone.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.bench.order import Order, load
from pipeline.bench.printer import LIMITED, Column, Finding, limited
from pipeline.bench.runner import CPU, Work, one_core, quickest, rounds
from pipeline.core.graph.spelling import Spelling
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.projection.clipping import Clipping, multiply_adds
from pipeline.core.projection.deconvnet import Seeds, project_on_windows

_BATCHES = (1, 4, 8)
_WINNERS = {True: 8, False: 32}  # whether short
_COLUMNS = {
    "single": Column("one at a time, ms", scale=1000),
    "full": Column("full, ms", scale=1000),
    "windows": Column("windows, ms", 2, scale=1000),
    "ratio_to_single": Column("to one at a time", 2),
    **LIMITED,
}


def measure(order: Order) -> Iterator[Finding]:
    """All three ways on each layer, interleaved; in short on every third layer."""
    graph, by_hand = load(order.net).graph, load(order.net, channels_last=False).graph
    layers = graph.layers[len(graph.layers) - 1 :: -3][::-1] if order.short else graph.layers
    _, *size = next(iter(graph.steps.values())).shape
    winners = _WINNERS[order.short]
    images = torch.randn(winners, 3, *size, generator=torch.Generator().manual_seed(0))
    laid_out = images.contiguous(memory_format=torch.channels_last)
    works: dict[tuple[str, str], Work] = {}
    batches = {}
    with one_core():
        for layer in layers:
            seeds, full = _winners(layer, winners), by_autograd(graph, layer)
            single, windows = by_autograd(by_hand, layer), partial(project_on_windows, graph, layer)
            tried = {n: partial(_project, full, laid_out[:n], seeds[:n], n) for n in _BATCHES}
            batch = batches[layer.name] = quickest(tried)
            works[layer.name, "single"] = partial(_project, single, images[:4], seeds[:4], 1)
            works[layer.name, "full"] = partial(_project, full, laid_out[:8], seeds[:8], batch)
            works[layer.name, "windows"] = partial(_project, windows, laid_out, seeds, winners)
        told = rounds(works, order.repeats_of_long(3), f"projection of {order.net}")
    rows = {}
    for layer in layers:
        row = {way: told[layer.name, way][CPU] / 1000 for way in ("single", "full", "windows")}
        row["ratio_to_single"] = row["single"] / row["windows"]
        row = limited(row, "full", "windows", _limit(graph, layer, _winners(layer, winners)))
        rows[layer.name] = {"layer": layer.name, "batch": batches[layer.name], **row}
    title = f"Projection of one winner of {order.net}, one core"
    yield Finding(title, _COLUMNS, rows, {"net": order.net, "winners": winners})


def _limit(graph: Graph, layer: Layer, seeds: Seeds) -> float:
    """How many times more multiply-adds whole images need."""
    work = Clipping(graph, layer).work(seeds.y.numpy(), seeds.x.numpy())
    return multiply_adds(graph.only([layer.name]))[layer.name] / float(work.mean())


def _winners(layer: Layer, count: int) -> Seeds:
    """One for each image; every fourth at the border."""
    generator = torch.Generator().manual_seed(1)
    y, x, maps = (
        torch.randint(most, (count,), generator=generator) for most in (*layer.size, layer.maps)
    )
    y[::8], x[4::8] = 0, layer.size[1] - 1
    return Seeds(torch.arange(count), maps, y, x)


def _project(project: Callable[..., object], images: Tensor, seeds: Seeds, batch: int) -> int:
    """Project a winner of each image, in batches; returns how many."""
    for part in (slice(first, first + batch) for first in range(0, len(images), batch)):
        project(images[part], seeds[part])
    return len(images)


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.relu_()

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clamp_min(0)


def _rectified(x: Tensor, inplace: bool) -> Any:
    return _Rectified.apply(x if inplace else x.clone())


def by_autograd(graph: Graph, layer: Layer) -> Callable[[Tensor, Seeds], Tensor]:
    """The full way: a net cut off at one layer, whose ReLU goes back as the deconvnet's does.

    Returns:
        A function of images and of a winner of each; it returns the projections as large as them.
    """
    trunk = graph.only([layer.name]).trunk
    spelling = Spelling.of(trunk)
    for node in trunk.graph.nodes:
        if isinstance(node, fx.Node) and spelling.is_relu(node):
            node.target = _rectified
    trunk.recompile()
    trunk.requires_grad_(False)

    def project(images: Tensor, seeds: Seeds) -> Tensor:
        images = images.detach().requires_grad_()
        (maps,) = trunk(images)
        at = (torch.arange(len(images)), seeds.feature_map, seeds.y, seeds.x)
        signal = torch.zeros_like(maps)
        signal[at] = maps.detach()[at]
        return torch.autograd.grad(maps, images, signal)[0]

    return project
