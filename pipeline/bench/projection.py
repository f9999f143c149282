"""How fast projection is: on the windows that winners see, against whole images.

One winner an image, which is the most common case. The rival is autograd with the deconvnet's
rule, the net cut off at the layer, channels last, in the batches that suit it best: forward over
the whole images, backward over whole maps. Beside it stands what one would write by hand: a winner
at a time. Noise and random weights: speed depends on neither.

Times are processor seconds for a winner and end with the projections; encoding them is left out.
The limit of the ratio is that of the multiply-adds which both ways need: a window is counted as
far as it lies in the map, for each winner alone.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.bench.order import Order, load
from pipeline.bench.printer import LIMITED, Column, Finding, limited
from pipeline.bench.runner import Rival, one_core, rounds
from pipeline.core.graph.steps import is_relu
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
    rivals, facts = {}, {}
    with one_core():
        for layer in layers:
            rivals[layer.name], facts[layer.name] = _prepare(
                graph, by_hand, layer, images, laid_out
            )
        rows = rounds(rivals, order.repeats_of_long(3), f"projection of {order.net}")
    for name, row in rows.items():
        row["ratio_to_single"] = row["single"] / row["windows"]
        rows[name] = {**facts[name], **limited(row, "full", "windows", facts[name]["limit"])}
    title = f"Projection of one winner of {order.net}, one core"
    yield Finding(title, _COLUMNS, rows, {"net": order.net, "winners": winners})


def _prepare(
    graph: Graph, by_hand: Graph, layer: Layer, images: Tensor, laid_out: Tensor
) -> tuple[Rival, dict[str, Any]]:
    """A layer's three ways, measured one after the other; and what else there is to tell."""
    seeds = _winners(layer, len(images))
    single, full = by_autograd(by_hand, layer), by_autograd(graph, layer)
    windows = partial(project_on_windows, graph, layer)
    for batch in _BATCHES:  # warm
        full(laid_out[:batch], seeds[:batch])
    batch = min(_BATCHES, key=lambda size: _seconds(full, laid_out[:size], seeds[:size], size))

    def rival() -> dict[str, float]:
        return {
            "single": _seconds(single, images[:4], seeds[:4], 1),
            "full": _seconds(full, laid_out[:8], seeds[:8], batch),
            "windows": _seconds(windows, laid_out, seeds, len(images)),
        }

    work = Clipping(graph, layer).work(seeds.y.numpy(), seeds.x.numpy())
    whole = multiply_adds(graph.only([layer.name]))[layer.name]
    return rival, {"layer": layer.name, "batch": batch, "limit": whole / float(work.mean())}


def _winners(layer: Layer, count: int) -> Seeds:
    """One for each image; every fourth at the border."""
    generator = torch.Generator().manual_seed(1)
    y, x, maps = (
        torch.randint(most, (count,), generator=generator) for most in (*layer.size, layer.maps)
    )
    y[::8], x[4::8] = 0, layer.size[1] - 1
    return Seeds(torch.arange(count), maps, y, x)


def _seconds(project: Callable[..., object], images: Tensor, seeds: Seeds, batch: int) -> float:
    """Processor seconds for a winner, in batches of so many."""
    start = time.process_time()
    for part in (slice(first, first + batch) for first in range(0, len(images), batch)):
        project(images[part], seeds[part])
    return (time.process_time() - start) / len(images)


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
    modules = dict(trunk.named_modules())
    for node in trunk.graph.nodes:
        if isinstance(node, fx.Node) and is_relu(node, modules):
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
