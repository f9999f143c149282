"""How torch spells the operations of a net: modules, functions, methods and operators.

Only this file knows. A function or method goes by its name, whoever it belongs to: `torch.add`,
`Tensor.add` and the operator + are all called add.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.ops import StochasticDepth

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
    Pair,
    Pass,
    Rectify,
    Scale,
)

Shapes = dict[str, tuple[int, int, int]]
"""Of every node that returns maps, by name: (C, H, W)."""

Bounds = tuple[float, float]

_RECTIFIERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU,
    nn.GELU, nn.Softplus, nn.Hardswish, nn.Mish,
)  # fmt: skip
_RECTIFY = {
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "silu", "gelu",
    "softplus", "hardswish", "mish",
}  # fmt: skip
_PASSED = (
    nn.LocalResponseNorm, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.Identity, StochasticDepth, nn.Tanh,
)  # fmt: skip
_PASS = {
    "tanh", "dropout", "dropout2d", "feature_dropout", "stochastic_depth", "contiguous", "clone",
    "detach", "to",
}  # fmt: skip
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
_SUM, _DIFFERENCE = {"add"}, {"sub", "subtract"}
_PRODUCT, _QUOTIENT = {"mul", "multiply"}, {"truediv", "div", "true_divide", "divide"}
_AFFINE = _SUM | _DIFFERENCE | _PRODUCT | _QUOTIENT
_CLAMP = (("min", -math.inf), ("max", math.inf))
_BOUNDS: dict[str, tuple[tuple[str, float], ...]] = {
    "relu": (("", 0.0), ("", math.inf)),
    "relu6": (("", 0.0), ("", 6.0)),
    "hardtanh": (("min_val", -1.0), ("max_val", 1.0)),
    "clamp": _CLAMP,
    "clip": _CLAMP,
    "clamp_min": (("min", -math.inf), ("", math.inf)),
}
"""Of a function that only cuts values off: its bounds, by their names and if not given."""

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


@dataclass(frozen=True)
class Spelling:
    """What the nodes of a traced net are.

    Attributes:
        modules: path → module.
        constants: node → what it returns, where that is the same for every picture.
    """

    modules: dict[str, nn.Module]
    constants: dict[str, Tensor]

    @classmethod
    def of(cls, traced: fx.GraphModule) -> "Spelling":
        """The spelling of a traced net."""
        return cls(dict(traced.named_modules()), constants_of(traced))

    def varying(self, node: fx.Node) -> list[fx.Node]:
        """The inputs of a node that depend on the picture."""
        return [source for source in node.all_input_nodes if source.name not in self.constants]

    def is_conv(self, node: fx.Node) -> bool:
        """Whether the node is a convolution."""
        return isinstance(self._module(node), nn.Conv2d)

    def normalises(self, node: fx.Node) -> bool:
        """Whether the node is a normalisation, also one spelled as constant factors and shifts."""
        is_norm = isinstance(self._module(node), (nn.LocalResponseNorm, *_NORMS))
        return is_norm or self.shifts(node)

    def shifts(self, node: fx.Node) -> bool:
        """Whether the node scales or shifts maps by a constant."""
        return called(node) in _AFFINE and len(self.varying(node)) == 1

    def is_fresh(self, node: fx.Node) -> bool:
        """Whether what a node returns is its own: others may return their input itself."""
        return self.is_conv(node) or self.normalises(node) or self.adds(node)

    def is_relu(self, node: fx.Node) -> bool:
        """Whether the node is ReLU itself."""
        return isinstance(self._module(node), nn.ReLU) or called(node) == "relu"

    def rectifies(self, node: fx.Node) -> bool:
        """Whether the node is ReLU or one of its leaky, smooth or bounded relatives."""
        bounds = self.bounds(node)
        if bounds is not None:
            return bounds[0] >= 0
        return isinstance(self._module(node), _RECTIFIERS) or called(node) in _RECTIFY

    def activates(self, node: fx.Node) -> bool:
        """Whether the node belongs to the layer of a convolution that it follows."""
        is_tanh = isinstance(self._module(node), nn.Tanh) or called(node) == "tanh"
        return is_tanh or self.bounds(node) is not None or self.rectifies(node)

    def adds(self, node: fx.Node) -> bool:
        """Whether the node is a sum or difference of maps."""
        return called(node) in _SUM | _DIFFERENCE and len(self.varying(node)) == 2

    def bounds(self, node: fx.Node) -> Bounds | None:
        """Of a node that only cuts values off: the least and the largest that it returns."""
        match self._module(node):
            case nn.Hardtanh(min_val=low, max_val=high):  # ReLU6 is one
                return low, high
            case nn.ReLU():
                return 0.0, math.inf
        if called(node) not in _BOUNDS:
            return None
        options = _BOUNDS[called(node)]
        given = dict(zip((name for name, _ in options if name), node.args[1:], strict=False))
        given |= {name: value for name, value in node.kwargs.items() if value is not None}
        found: list[Any] = [given.get(name, usual) for name, usual in options]
        if any(isinstance(bound, fx.Node) for bound in found):
            return None
        return float(found[0]), float(found[1])

    def classify(self, node: fx.Node, shapes: Shapes) -> Op:
        """What kind of step a traced node is."""
        if node.op == "placeholder":
            return Input()
        if self.rectifies(node):
            return Rectify()
        if self.bounds(node) is not None:
            return Pass()
        if node.op == "call_module":
            return _classify_module(self.modules[str(node.target)])
        return self._classify_call(node, shapes)

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self.modules.get(str(node.target)) if node.op == "call_module" else None

    def _classify_call(self, node: fx.Node, shapes: Shapes) -> Op:
        name, sources = called(node), self.varying(node)
        if name in _PASS:
            return Pass()
        if name in _POOLS:
            return _classify_pool(node)
        if name == "mean" and shapes.get(node.name, ())[1:] == (1, 1):
            return GlobalPool()
        if all(source.name in shapes for source in sources):
            if name == "cat" and 1 in (*node.args[1:], node.kwargs.get("dim")):
                once = len(node.args[0]) == len(sources)  # type: ignore[arg-type]
                return Concat() if once else Opaque("a concatenation of a map with itself")
            if len(sources) == 1 and name in _AFFINE:
                return self._classify_affine(node, shapes)
            if len(sources) == 2:
                return _classify_two(node, *(shapes[source.name] for source in sources))
        return Opaque(name or node.op)

    def _classify_affine(self, node: fx.Node, shapes: Shapes) -> Op:
        """Maps and a constant."""
        (source,) = self.varying(node)
        is_first = bool(node.args) and node.args[0] is source
        operands = [*node.args, *(v for k, v in node.kwargs.items() if k in ("input", "other"))]
        others = [self._constant(operand) for operand in operands if operand is not source]
        maps = shapes[source.name][0]
        if len(others) != 1 or not _is_of_maps(others[0], maps) or "alpha" in node.kwargs:
            return Opaque(called(node))
        (constant,), name = others, called(node)
        if name in _SUM or (name in _DIFFERENCE and is_first):
            return Pass()
        if name in _DIFFERENCE:
            return Scale(-1.0)
        if name in _PRODUCT or (is_first and "rounding_mode" not in node.kwargs):
            factor = constant if name in _PRODUCT else 1 / constant
            return Scale(factor.view(-1, 1, 1) if isinstance(factor, Tensor) else factor)
        return Opaque(name)

    def _constant(self, operand: Any) -> Any:
        return self.constants.get(operand.name) if isinstance(operand, fx.Node) else operand


def called(node: fx.Node) -> str:
    """What a function or method is called; nothing for a module."""
    if node.op == "call_method":
        return str(node.target)
    return str(getattr(node.target, "__name__", "")) if node.op == "call_function" else ""


def constants_of(traced: fx.GraphModule) -> dict[str, Tensor]:
    """Node → what it returns, where that is the same for every picture."""
    interpreter = fx.Interpreter(traced)
    found: dict[str, Tensor] = {}
    for node in traced.graph.nodes:
        sources = node.all_input_nodes
        follows = bool(sources) and all(source in interpreter.env for source in sources)
        if node.op == "get_attr" or (follows and node.op != "output"):
            with torch.no_grad():
                found[node.name] = interpreter.env[node] = interpreter.run_node(node)
    return found


def _is_of_maps(constant: Any, maps: int) -> bool:
    """Whether a constant is a number, or one for each map."""
    if isinstance(constant, Tensor):
        return constant.numel() == 1 or tuple(constant.shape[-3:]) == (maps, 1, 1)
    return isinstance(constant, int | float)


def _classify_two(node: fx.Node, *sizes: tuple[int, int, int]) -> Op:
    """An operation on two maps."""
    name = called(node)
    if sizes[0] == sizes[1] and name in _SUM | _DIFFERENCE:
        weight = node.kwargs.get("alpha", 1)
        assert isinstance(weight, int | float)
        if name in _DIFFERENCE:
            weight = -weight
        return Add() if weight == 1 else Add((1.0, float(weight)))
    if name in _PRODUCT and (1, 1) in [size[1:] for size in sizes]:
        return Gate(scaled=1 - [size[1:] for size in sizes].index((1, 1)))
    return Opaque(name)


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
