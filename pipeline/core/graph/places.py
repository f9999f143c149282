"""What each position of a layer sees of the net's input, where no formula tells.

Going up, every value's first and last row and column of the input are kept. A kernel takes the
least and the largest of what it reads; of any other linear operation these are found by running
it: a place is made not-a-number, and so becomes whatever reads it.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial, reduce
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pipeline.core.field import Spans
from pipeline.core.graph.linear import run_from
from pipeline.core.graph.spelling import Spelling, called
from pipeline.core.graph.steps import (
    AdaptiveMax,
    AvgPool,
    Concat,
    Conv,
    Gate,
    GlobalPool,
    Kernel,
    Linear,
    MaxPool,
    Opaque,
    Pad,
    Select,
    Step,
)
from pipeline.core.graph.trace import Graph, Layer

_FAR = 2**30

_MAPS_ALIKE = (
    nn.Upsample, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ReflectionPad2d,
    nn.ReplicationPad2d, nn.CircularPad2d,
)  # fmt: skip
_MAPS_ALIKE_CALLED = {
    "interpolate", "upsample", "pad", "adaptive_avg_pool2d", "adaptive_max_pool2d",
}  # fmt: skip
"""What does the same with every map, so that one tells all."""


_KNOWN: WeakKeyDictionary[fx.GraphModule, dict[tuple[str, int], Spans]] = WeakKeyDictionary()


def spans(graph: Graph, layer: Layer, axis: int) -> Spans:
    """What the positions of a layer see along one axis (0: rows, 1: columns) of the input.

    Worked out once for all layers, for as long as the net lives.
    """
    if graph.trunk not in _KNOWN:
        _KNOWN[graph.trunk] = {
            (name, along): found for along in (0, 1) for name, found in _along(graph, along)
        }
    return _KNOWN[graph.trunk][layer.name, axis]


def _along(graph: Graph, axis: int) -> Iterator[tuple[str, Spans]]:
    """Of every layer."""
    lowest, highest = (_seen(graph, axis, least) for least in (True, False))
    others = [dim for dim in (0, 1, 2) if dim != axis + 1]
    for layer in graph.layers:
        stop = highest[layer.step].amax(others).clamp_min(0) + 1  # who sees nothing gets a place
        first = torch.minimum(lowest[layer.step].amin(others), stop - 1)
        yield layer.name, tuple(zip(first.tolist(), stop.tolist(), strict=True))


def _nothing(least: bool) -> int:
    """What stands for the first or the last place where none is seen."""
    return _FAR if least else -1


def _seen(graph: Graph, axis: int, least: bool) -> dict[str, Tensor]:
    """The first or the last place of the input that each value of a step sees, (C, H, W)."""
    seen: dict[str, Tensor] = {}
    nodes = {node.name: node for node in graph.trunk.graph.nodes}
    for step in graph.steps.values():
        if not step.inputs:
            places = torch.arange(step.shape[1 + axis], dtype=torch.int32)
            seen[step.name] = places.view((-1, 1) if axis == 0 else (1, -1)).expand(step.shape)
        else:
            sources = [seen[source] for source in step.sources]
            seen[step.name] = _above(graph, nodes[step.name], step, sources, least)
    return seen


def _above(graph: Graph, node: fx.Node, step: Step, sources: list[Tensor], least: bool) -> Tensor:
    """Of a step, from those of its sources."""
    first = sources[0]
    extreme: Callable[[Tensor, Tensor], Tensor] = torch.minimum if least else torch.maximum
    match step.op:
        case Conv(kernel=k) | MaxPool(kernel=k) | AvgPool(kernel=k) | Pad(kernel=k):
            # every map of a convolution reads all maps: the few groups do not matter
            whole = first.amin(0) if least else first.amax(0)
            return _kernel(whole, k, step, least).expand(step.shape)
        case GlobalPool() | Opaque():
            everything = reduce(
                extreme, (source.amin() if least else source.amax() for source in sources)
            )
            return everything.expand(step.shape)
        case Concat():
            return torch.cat(sources)
        case Select(maps=maps):
            return first[list(maps)]
        case Linear() | AdaptiveMax():
            return _linear(graph, node, step, sources, least)
        case Gate():
            return first
    return reduce(extreme, sources)


def _kernel(seen: Tensor, kernel: Kernel, step: Step, least: bool) -> Tensor:
    """The least or the largest of what a kernel reads of (H, W)."""
    sign = -1 if least else 1
    (_, height, width), (top, left) = step.shape, kernel.padding
    below, right = (
        (made - 1) * kernel.stride[axis] + kernel.reach(axis) - before - seen.shape[axis]
        for axis, (made, before) in enumerate(((height, top), (width, left)))
    )
    padded = F.pad(
        sign * seen[None].double(), (left, right, top, below), value=sign * _nothing(least)
    )
    read = F.max_pool2d(padded, kernel.size, kernel.stride, 0, kernel.dilation)[0]
    return (sign * read).int()


def _linear(graph: Graph, node: fx.Node, step: Step, sources: list[Tensor], least: bool) -> Tensor:
    """Of a linear operation, found by running it."""
    run = partial(run_from, fx.Interpreter(graph.trunk), node)
    if step.op == Linear(moves=True):
        moved: Tensor = run({step.inputs[0]: sources[0][None]})[0]
        return moved.int()  # it may have been cast
    module = Spelling.of(graph.trunk).module(node)
    shape = step.shape
    match module:
        case nn.Linear():
            over = sources[0].amin(-1, True) if least else sources[0].amax(-1, True)
            return over.expand(step.shape)
        case nn.ConvTranspose2d():  # every map reads all of them
            run, shape = partial(_transposed, module), (1, *shape[1:])
            sources = [sources[0].amin(0, True) if least else sources[0].amax(0, True)]
    alike = isinstance(module, _MAPS_ALIKE) or called(node) in _MAPS_ALIKE_CALLED
    if alike and len(sources[0]) == shape[0]:
        sources, shape = [source[:1] for source in sources], (1, *shape[1:])
    made = torch.full(shape, _nothing(least), dtype=torch.int32)
    values = torch.unique(torch.cat([source.flatten() for source in sources])).tolist()
    for value in reversed(values) if least else values:
        known = {
            name: torch.where(seen <= value if least else seen >= value, torch.nan, 0.0)[None]
            for name, seen in zip(step.inputs, sources, strict=True)
        }
        with torch.no_grad():
            made[run(known)[0].isnan()] = value
    return made.expand(step.shape)


def _transposed(conv: nn.ConvTranspose2d, known: Mapping[str, Tensor]) -> Tensor:
    """A transposed convolution of one map, whatever its filters."""
    (maps,) = known.values()
    filters = maps.new_ones(1, 1, *conv.kernel_size)
    geometry: Any = (conv.stride, conv.padding, conv.output_padding, 1, conv.dilation)
    return F.conv_transpose2d(maps, filters, None, *geometry)
