"""What kind of step each node of a traced net is."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.ops import StochasticDepth

from pipeline.core.graph.spelling import (
    DIFFERENCE,
    PRODUCT,
    QUOTIENT,
    SPLIT,
    SUM,
    Spelling,
    called,
)
from pipeline.core.graph.steps import (
    Add,
    Affine,
    AvgPool,
    Concat,
    Conv,
    Gate,
    GlobalPool,
    Input,
    Kernel,
    MaxPool,
    Op,
    Opaque,
    Pad,
    Pair,
    Pass,
    Rectify,
    Scale,
    Slice,
)

Shapes = dict[str, tuple[int, int, int]]
"""Of every node that returns maps, by name: (C, H, W)."""

_PASSED = (
    nn.LocalResponseNorm, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.Identity, StochasticDepth, nn.Tanh,
)  # fmt: skip
_PASS = {
    "tanh", "dropout", "dropout2d", "feature_dropout", "stochastic_depth", "contiguous", "clone",
    "detach", "to",
}  # fmt: skip
_GEOMETRY = ("kernel_size", "stride", "padding")
_POOLS: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "max_pool2d": (nn.MaxPool2d, (*_GEOMETRY, "dilation", "ceil_mode")),
    "avg_pool2d": (
        nn.AvgPool2d,
        (*_GEOMETRY, "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d, ("output_size",)),
}
"""The module that does what a pooling function does, and the function's options in order."""


def classify(node: fx.Node, spelling: Spelling, shapes: Shapes) -> Op:
    """What kind of step a traced node is."""
    if node.op == "placeholder":
        return Input()
    if spelling.rectifies(node):
        return Rectify()
    if spelling.bounds(node) is not None:
        return Pass()
    if node.op == "call_module":
        return _classify_module(spelling.modules[str(node.target)])
    return _classify_call(node, spelling, shapes)


def _classify_call(node: fx.Node, spelling: Spelling, shapes: Shapes) -> Op:
    name, sources = called(node), spelling.varying(node)
    if name in _PASS:
        return Pass()
    if name in _POOLS:
        return _classify_pool(node)
    if name == "pad":
        return _classify_pad(node)
    if name == "mean" and shapes.get(node.name, ())[1:] == (1, 1):
        return GlobalPool()
    if all(source.name in shapes for source in sources):
        if name == "cat" and 1 in (*node.args[1:], node.kwargs.get("dim")):
            once = len(node.args[0]) == len(sources)  # type: ignore[arg-type]
            return Concat() if once else Opaque("a concatenation of a map with itself")
        if len(sources) == 1 and name == "getitem":
            return _classify_part(node, shapes[sources[0].name], shapes[node.name])
        if len(sources) == 1 and name in SUM | DIFFERENCE | PRODUCT | QUOTIENT:
            return _classify_affine(node, spelling, shapes[sources[0].name][0])
        if len(sources) == 2:
            return _classify_two(node, sources, shapes)
    return Opaque(name or node.op)


def _classify_affine(node: fx.Node, spelling: Spelling, maps: int) -> Op:
    """Maps and a constant."""
    (source,) = spelling.varying(node)
    is_first = bool(node.args) and node.args[0] is source
    operands = [*node.args, *(v for k, v in node.kwargs.items() if k in ("input", "other"))]
    others = [spelling.constant(operand) for operand in operands if operand is not source]
    if len(others) != 1 or not _is_of_maps(others[0], maps) or "alpha" in node.kwargs:
        return Opaque(called(node))
    (constant,), name = others, called(node)
    if name in SUM or (name in DIFFERENCE and is_first):
        return Pass()
    if name in DIFFERENCE:
        return Scale(-1.0)
    if name in PRODUCT or (is_first and "rounding_mode" not in node.kwargs):
        factor = constant if name in PRODUCT else 1 / constant
        return Scale(factor.view(-1, 1, 1) if isinstance(factor, Tensor) else factor)
    return Opaque(name)


def _classify_two(node: fx.Node, sources: list[fx.Node], shapes: Shapes) -> Op:
    """An operation on two maps."""
    name = called(node)
    first, second = (shapes[source.name] for source in sources)
    if first == second and name in SUM | DIFFERENCE:
        weight = node.kwargs.get("alpha", 1)
        assert isinstance(weight, int | float)
        weight = -weight if name in DIFFERENCE else weight
        return Add() if weight == 1 else Add((1.0, float(weight)))
    if name in PRODUCT:
        flat = [_is_flat(source, shapes) for source in sources]
        if any(flat):
            return Gate(scaled=1 - flat.index(True))
    return Opaque(name)


def _is_flat(node: fx.Node, shapes: Shapes) -> bool:
    """Whether each map has one value, at all its places."""
    if called(node) in ("expand", "expand_as"):
        node = node.all_input_nodes[0]
    return shapes.get(node.name, ())[1:] == (1, 1)


def _classify_part(node: fx.Node, whole: tuple[int, int, int], part: tuple[int, int, int]) -> Op:
    """Some maps of several: a slice, or one of the pieces that they were cut into."""
    numbers: Any = torch.arange(whole[0]).view(1, -1, 1, 1)
    cut = node.args[0]
    if isinstance(cut, fx.Node) and called(cut) in SPLIT:
        numbers = getattr(torch, called(cut))(numbers, *cut.args[1:], **cut.kwargs)
    taken = numbers[node.args[1]]
    first = int(taken.flatten()[0]) if taken.numel() else 0
    if part[1:] == whole[1:] and taken.flatten().tolist() == list(range(first, first + part[0])):
        return Slice(first)
    return Opaque("a slice of places")


def _classify_pad(node: fx.Node) -> Op:
    given = {**dict(zip(("pad", "mode", "value"), node.args[1:], strict=False)), **node.kwargs}
    return _pad(given["pad"], str(given.get("mode", "constant")), given.get("value") or 0.0)


def _pad(sides: Any, mode: str, value: Any) -> Op:
    if mode != "constant" or len(sides) != 4:
        return Opaque(f"{mode} padding")
    return Pad(Kernel((1, 1), padding=(sides[2], sides[0])), float(value))


def _is_of_maps(constant: Any, maps: int) -> bool:
    """Whether a constant is a number, or one for each map."""
    if isinstance(constant, Tensor):
        return constant.numel() == 1 or tuple(constant.shape[-3:]) == (maps, 1, 1)
    return isinstance(constant, int | float)


def _classify_module(module: nn.Module) -> Op:
    match module:
        case nn.Conv2d(padding_mode="zeros"):
            return Conv(module, _conv_kernel(module))
        case nn.MaxPool2d():
            kernel = _kernel(module.kernel_size, module.stride, module.padding, module.dilation)
            return MaxPool(kernel, module.ceil_mode)
        case nn.AvgPool2d():
            kernel = _kernel(module.kernel_size, module.stride, module.padding)
            return AvgPool(
                kernel, module.ceil_mode, module.count_include_pad, module.divisor_override
            )
        case nn.AdaptiveAvgPool2d() if module.output_size in (1, (1, 1)):
            return GlobalPool()
        case nn.ConstantPad2d() | nn.ZeroPad2d():
            return _pad(module.padding, "constant", module.value)
        case nn.BatchNorm2d() | nn.SyncBatchNorm() if module.track_running_stats:
            return Affine(module)
    return Pass() if isinstance(module, _PASSED) else Opaque(type(module).__name__)


def _classify_pool(node: fx.Node) -> Op:
    """A pool that is called as a function, by the module that does the same."""
    pool, options = _POOLS[called(node)]
    given = {**dict(zip(options, node.args[1:], strict=False)), **node.kwargs}
    return _classify_module(pool(**{name: given[name] for name in options if name in given}))


def _pair(value: int | tuple[int, ...] | list[int]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _kernel(size: Any, stride: Any, padding: Any, dilation: Any = 1) -> Kernel:
    # torch takes an empty stride for "the kernel's own size"
    return Kernel(_pair(size), _pair(stride or size), _pair(padding), _pair(dilation))


def _conv_kernel(conv: nn.Conv2d) -> Kernel:
    size, stride, dilation = _pair(conv.kernel_size), _pair(conv.stride), _pair(conv.dilation)
    if conv.padding == "valid":
        padding = (0, 0)
    elif conv.padding == "same":  # an odd remainder is padded below and to the right
        padding = (dilation[0] * (size[0] - 1) // 2, dilation[1] * (size[1] - 1) // 2)
    else:
        padding = _pair(conv.padding)  # type: ignore[arg-type]
    return Kernel(size, stride, padding, dilation)
