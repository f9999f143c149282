"""Operations that are linear in the maps they read, alone or several in a row.

Between two nodes that return maps, (N, C, H, W), there may be others that do not: maps seen as
groups of maps, flattened, cut into pieces. Together they are one operation.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_arg

from pipeline.core.graph.spelling import DIFFERENCE, PRODUCT, QUOTIENT, SUM, Spelling, called
from pipeline.core.graph.steps import Linear, Op, Opaque, Select

Shapes = Mapping[str, tuple[int, int, int]]
"""Of every node that returns maps, by name: (C, H, W)."""

_MOVES = {
    "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "flip", "roll", "rot90", "transpose",
    "permute", "movedim", "swapaxes", "view", "reshape", "view_as", "reshape_as", "flatten",
    "unflatten", "squeeze", "unsqueeze", "expand", "expand_as", "repeat", "repeat_interleave",
    "tile", "getitem", "chunk", "split", "tensor_split", "unbind", "select", "narrow",
    "index_select", "contiguous", "clone", "to",
}  # fmt: skip
"""What only moves values."""

_OF_ONE = {
    *_MOVES, "interpolate", "upsample", "conv2d", "conv_transpose2d", "adaptive_avg_pool2d",
    "avg_pool2d", "pad", "linear", "matmul", "mean", "sum", "neg", *SUM, *DIFFERENCE, *PRODUCT,
    *QUOTIENT,
}  # fmt: skip
"""Linear in their first operand, if all others are the same for every picture."""

_OF_SEVERAL = {"cat", "concat", "stack", *SUM, *DIFFERENCE}
_MOVERS = (
    nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Flatten, nn.Unflatten, nn.Identity,
    nn.Dropout,
)  # fmt: skip
_MODULES = (
    *_MOVERS, nn.Upsample, nn.ConvTranspose2d, nn.AdaptiveAvgPool2d, nn.ReflectionPad2d,
    nn.ReplicationPad2d, nn.CircularPad2d, nn.ConstantPad2d, nn.Linear,
)  # fmt: skip


def between(node: fx.Node, spelling: Spelling, shapes: Shapes) -> tuple[list[str], list[fx.Node]]:
    """The nodes with maps that a node is made of, and those without maps on the way, in order."""
    sources: list[str] = []
    passed: list[fx.Node] = []

    def descend(user: fx.Node) -> None:
        for source in spelling.varying(user):
            if source.name in shapes:
                if source.name not in sources:
                    sources.append(source.name)
            elif source not in passed:
                descend(source)
                passed.append(source)

    descend(node)
    return sources, passed


def linear_op(node: fx.Node, spelling: Spelling, shapes: Shapes) -> Op:
    """What kind of step a node is if nothing else is known of it."""
    sources, passed = between(node, spelling, shapes)
    for part in (*passed, node):
        if not _is_linear(part, spelling):
            module = spelling.module(part)
            what = called(part) if module is None else type(module).__name__
            return Opaque(what or part.op)
    if len(sources) == 1 and all(_moves(part, spelling) for part in (*passed, node)):
        return _selection(node, sources[0], shapes) or Linear(moves=True)
    return Linear()


def run_from(interpreter: fx.Interpreter, node: fx.Node, known: Mapping[str, Any]) -> Any:
    """The value of a node of a traced net, from the values of nodes that it is made of."""

    def value(source: fx.Node) -> Any:
        if source.name in known:
            return known[source.name]
        return run_from(interpreter, source, known)

    args, kwargs = map_arg((node.args, node.kwargs), value)
    return getattr(interpreter, node.op)(node.target, args, kwargs)


def _moves(node: fx.Node, spelling: Spelling) -> bool:
    return isinstance(spelling.module(node), _MOVERS) or called(node) in _MOVES


def _is_linear(node: fx.Node, spelling: Spelling) -> bool:
    if node.op == "call_module":
        return isinstance(spelling.module(node), _MODULES)
    name = called(node)
    if name in _OF_SEVERAL:
        return True
    operand = node.args[0] if node.args else node.kwargs.get("input")
    return name in _OF_ONE and [operand] == spelling.varying(node)


def _selection(node: fx.Node, source: str, shapes: Shapes) -> Select | None:
    """Some of the maps as they are, if that is all that an operation takes of its source."""
    maps, height, width = shapes[source]
    number = torch.arange(maps).view(-1, 1, 1).expand(maps, height, width)
    place = torch.arange(height * width).view(height, width).expand(maps, height, width)
    owner = node.graph.owning_module
    assert owner is not None
    taken, places = (
        run_from(fx.Interpreter(owner), node, {source: of_each[None].float()})[0]
        for of_each in (number, place)
    )
    is_of_maps = taken.shape[1:] == (height, width) and bool((places == place[0]).all())
    if is_of_maps and bool((taken == taken[:, :1, :1]).all()):
        return Select(tuple(int(first) for first in taken[:, 0, 0].tolist()))
    return None
