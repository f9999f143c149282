"""The geometry of convolutions and pools, from torch's options."""

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from pipeline.core.graph.spelling import called
from pipeline.core.graph.steps import (
    AdaptiveMax,
    AvgPool,
    Conv,
    GlobalPool,
    Kernel,
    Linear,
    MaxPool,
    Op,
    Pair,
)

_GEOMETRY = ("kernel_size", "stride", "padding")
_POOLS: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "max_pool2d": (nn.MaxPool2d, (*_GEOMETRY, "dilation", "ceil_mode")),
    "avg_pool2d": (
        nn.AvgPool2d,
        (*_GEOMETRY, "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d, ("output_size",)),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d, ("output_size",)),
}
"""The module that does what a pooling function does, and the function's options in order."""


def conv_op(conv: nn.Conv2d) -> Conv:
    """A convolution that pads with zeros."""
    size, stride, dilation = _pair(conv.kernel_size), _pair(conv.stride), _pair(conv.dilation)
    if conv.padding == "valid":
        padding = (0, 0)
    elif conv.padding == "same":  # an odd remainder is padded below and to the right
        padding = (dilation[0] * (size[0] - 1) // 2, dilation[1] * (size[1] - 1) // 2)
    else:
        padding = _pair(conv.padding)  # type: ignore[arg-type]
    return Conv(conv, Kernel(size, stride, padding, dilation))


def pool_op(node: fx.Node, module: nn.Module | None, whole: Pair, made: Pair) -> Op | None:
    """A pool, called as a module or as a function.

    Args:
        node: any node.
        module: that it calls.
        whole: (H, W) of what it reads.
        made: (H, W) of what it returns.

    Returns:
        None if it is no pool.
    """
    if called(node) in _POOLS:
        pool, options = _POOLS[called(node)]
        given = {**dict(zip(options, node.args[1:], strict=False)), **node.kwargs}
        module = pool(**{name: given[name] for name in options if name in given})
    match module:
        case nn.MaxPool2d(return_indices=False):
            kernel = _kernel(module.kernel_size, module.stride, module.padding, module.dilation)
            return MaxPool(kernel, module.ceil_mode)
        case nn.AvgPool2d():
            kernel = _kernel(module.kernel_size, module.stride, module.padding)
            return AvgPool(
                kernel, module.ceil_mode, module.count_include_pad, module.divisor_override
            )
        case nn.AdaptiveAvgPool2d():
            even = _even(whole, made)
            if made == (1, 1):
                return GlobalPool()
            return AvgPool(even, False, True, None) if even else Linear()
        case nn.AdaptiveMaxPool2d(return_indices=False):
            even = _even(whole, made)
            return MaxPool(even, False) if even else AdaptiveMax(made)
    return None


def _even(whole: Pair, made: Pair) -> Kernel | None:
    """The kernel of an adaptive pool whose windows are all of one size."""
    if whole[0] % made[0] or whole[1] % made[1]:
        return None
    size = (whole[0] // made[0], whole[1] // made[1])
    return Kernel(size, size)


def _pair(value: int | tuple[int, ...] | list[int]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _kernel(size: Any, stride: Any, padding: Any, dilation: Any = 1) -> Kernel:
    # torch takes an empty stride for "the kernel's own size"
    return Kernel(_pair(size), _pair(stride or size), _pair(padding), _pair(dilation))
