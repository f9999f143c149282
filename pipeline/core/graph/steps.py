"""The steps of a convnet: the few kinds of operation that the method knows, and their geometry.

This is the only place that knows how torch spells an operation.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torchvision.ops import StochasticDepth, stochastic_depth

Pair = tuple[int, int]


@dataclass(frozen=True)
class Kernel:
    """The geometry of a convolution or a pool, (rows, columns) each, in positions."""

    size: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def reach(self, axis: int) -> int:
        """How many places it spans along an axis."""
        return self.dilation[axis] * (self.size[axis] - 1) + 1


@dataclass(frozen=True)
class Op:
    """What kind of operation a step is."""


class Input(Op):
    """The net's input."""


@dataclass(frozen=True)
class Conv(Op):
    """A convolution; `module` holds its filters."""

    module: nn.Conv2d
    kernel: Kernel


@dataclass(frozen=True)
class MaxPool(Op):
    """A maximum over windows; going up it records its switches."""

    kernel: Kernel
    ceil_mode: bool


@dataclass(frozen=True)
class AvgPool(Op):
    """A mean over windows."""

    kernel: Kernel
    ceil_mode: bool
    count_include_pad: bool
    divisor: int | None


class GlobalPool(Op):
    """The mean of a whole map, 1×1."""


@dataclass(frozen=True)
class Affine(Op):
    """Batch normalisation at inference: an affine map of each channel."""

    module: nn.BatchNorm2d


class Rectify(Op):
    """ReLU and its smooth relatives: on the way down all of them rectify."""


class Pass(Op):
    """Unchanged on the way down.

    Dropout, and local response normalisation, which has no agreed inverse.
    """


class Concat(Op):
    """Maps of several branches, one after the other."""


class Add(Op):
    """The sum of branches of equal shape."""


@dataclass(frozen=True)
class Gate(Op):
    """Each map scaled by a number computed from the whole image (squeeze and excitation).

    On the way down the recorded scale is kept, and nothing goes down the branch that made it.
    """

    scaled: int  # which of the two inputs is scaled; the other one is the scale


@dataclass(frozen=True)
class Opaque(Op):
    """Anything else: it can be run, but the deconvnet cannot go down through it."""

    what: str


@dataclass(frozen=True)
class Step:
    """One operation: its kind, the steps it reads, and the shape (C, H, W) of what it returns."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    shape: tuple[int, int, int]

    @property
    def sources(self) -> tuple[str, ...]:
        """The inputs that a signal goes down to: all, but for the scale of a gate."""
        return (self.inputs[self.op.scaled],) if isinstance(self.op, Gate) else self.inputs


Shapes = dict[str, tuple[int, int, int]]
"""Of every node that returns maps, by name: (C, H, W)."""

_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Mish)
_RELU = {F.relu, F.relu_, torch.relu, torch.relu_}
_RECTIFY = _RELU | {F.relu6, F.silu, F.gelu, F.hardswish}
_ADD = {operator.add, operator.iadd, torch.add}
_MULTIPLY = {operator.mul, operator.imul, torch.mul}
_PASSED = (nn.LocalResponseNorm, nn.Dropout, nn.Dropout2d, nn.Identity, StochasticDepth)
_GEOMETRY = ("kernel_size", "stride", "padding")
_MAX_POOL = (nn.MaxPool2d, (*_GEOMETRY, "dilation", "ceil_mode"))
_AVG_POOL = (nn.AvgPool2d, (*_GEOMETRY, "ceil_mode", "count_include_pad", "divisor_override"))
_POOLS: dict[Any, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    F.max_pool2d: _MAX_POOL,
    torch.max_pool2d: _MAX_POOL,
    F.avg_pool2d: _AVG_POOL,
}
"""The module that does what a pooling function does, and the function's options in order."""


def is_conv(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the node is a convolution."""
    return isinstance(_module(node, modules), nn.Conv2d)


def normalises(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the node is a normalisation."""
    return isinstance(_module(node, modules), nn.BatchNorm2d | nn.LocalResponseNorm)


def rectifies(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the node is ReLU or one of its smooth relatives."""
    if node.op == "call_method":
        return node.target in ("relu", "relu_")
    return isinstance(_module(node, modules), _RECTIFIERS) or node.target in _RECTIFY


def is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the node is ReLU itself, as a module or as a function."""
    return isinstance(_module(node, modules), nn.ReLU) or node.target in _RELU


def adds(node: fx.Node) -> bool:
    """Whether the node is a sum."""
    return node.target in _ADD


def _module(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    return modules.get(str(node.target)) if node.op == "call_module" else None


def classify(node: fx.Node, modules: dict[str, nn.Module], shapes: Shapes) -> Op:
    """What kind of step a traced node is."""
    if node.op == "placeholder":
        return Input()
    if rectifies(node, modules):
        return Rectify()
    if node.op == "call_module":
        return _classify_module(modules[str(node.target)])
    if node.op == "call_function":
        return _classify_function(node, shapes)
    if node.op == "call_method" and node.target == "contiguous":
        return Pass()
    return Opaque(f"{node.op} {node.target}")


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
        case nn.BatchNorm2d() if module.track_running_stats:
            return Affine(module)
    return Pass() if isinstance(module, _PASSED) else Opaque(type(module).__name__)


def _classify_function(node: fx.Node, shapes: Shapes) -> Op:
    function = node.target
    sources = node.all_input_nodes
    tensors_only = all(source.name in shapes for source in sources)
    if function in (F.dropout, stochastic_depth):
        return Pass()
    if function is torch.cat and tensors_only and 1 in (*node.args[1:], node.kwargs.get("dim")):
        once = len(node.args[0]) == len(sources)  # type: ignore[arg-type]
        return Concat() if once else Opaque("a concatenation of a map with itself")
    two = tensors_only and len(sources) == 2
    equal = two and shapes[sources[0].name] == shapes[sources[1].name]
    if function in _ADD and equal and "alpha" not in node.kwargs:
        return Add()
    if function in _MULTIPLY and two:
        sizes = [shapes[source.name][1:] for source in sources]
        if (1, 1) in sizes:
            return Gate(scaled=1 - sizes.index((1, 1)))
    if function in _POOLS:
        return _classify_pool(node)
    return Opaque(getattr(function, "__name__", str(function)))


def _classify_pool(node: fx.Node) -> Op:
    """A pool that is called as a function, by the module that does the same."""
    pool, options = _POOLS[node.target]
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
