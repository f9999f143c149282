"""What maps are scaled by on the way up, recorded for the way down: by gates and normalisation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from pipeline.core.graph.spelling import called
from pipeline.core.graph.steps import Gate, Normalise, Product, Step


def scales(
    step: Step, node: fx.Node, module: nn.Module | None, args: Sequence[Any], kwargs: Any
) -> tuple[Tensor, ...]:
    """For each source of a step, what the signal that goes down to it is multiplied by.

    Args:
        step: any step.
        node: that it is of.
        module: that the node calls, if it calls one.
        args: the operation's arguments, with the values of all images.
        kwargs: likewise.

    Returns:
        Tensors of the sources' shape (N, C, H, W), or with a 1 where all are scaled alike;
        nothing for a step that scales by nothing of the picture.
    """
    match step.op:
        case Gate(scaled=scaled, divides=divides):
            scale = args[1 - scaled]
            return (_shrunk(1 / scale if divides else scale),)
        case Product():
            first, second = (arg for arg in args if isinstance(arg, Tensor))
            return second, first
        case Normalise():
            return (_of_statistics(module or called(node), args, kwargs),)
    return ()


def _shrunk(scale: Tensor) -> Tensor:
    """Without the copies of one value that an expanded scale consists of."""
    for axis in (1, 2, 3):
        if scale.stride(axis) == 0:
            scale = scale.narrow(axis, 0, 1)
    return scale


def _of_statistics(how: nn.Module | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """The weight over the standard deviation, of (N, C, H, W)."""
    maps: Tensor = args[0]
    match how:
        case nn.GroupNorm(num_groups=groups, eps=eps, weight=weight):
            return _of_groups(maps, groups, weight, eps)
        case nn.InstanceNorm2d(eps=eps, weight=weight):
            return _of_groups(maps, maps.shape[1], weight, eps)
        case nn.LayerNorm(normalized_shape=shape, eps=eps, weight=weight):
            return _of_last(maps, len(shape), weight, eps)
    names = {
        "group_norm": ("num_groups", "weight", "bias", "eps"),
        "layer_norm": ("normalized_shape", "weight", "bias", "eps"),
    }.get(str(how), ("mean", "var", "weight", "bias", "use_input_stats", "momentum", "eps"))
    given: dict[str, Any] = {**dict(zip(names, args[1:], strict=False)), **kwargs}
    factor, eps = given.get("weight"), given.get("eps", 1e-5)
    if how == "layer_norm":
        return _of_last(maps, len(given["normalized_shape"]), factor, eps)
    return _of_groups(maps, given.get("num_groups", maps.shape[1]), factor, eps)


def _of_groups(maps: Tensor, groups: int, weight: Tensor | None, eps: float) -> Tensor:
    """(N, C, 1, 1), for statistics over groups of maps."""
    n, channels = maps.shape[:2]
    variance = maps.reshape(n, groups, -1).var(-1, correction=0)
    scale = torch.rsqrt(variance + eps).repeat_interleave(channels // groups, 1)
    return (scale if weight is None else scale * weight)[:, :, None, None]


def _of_last(maps: Tensor, axes: int, weight: Tensor | None, eps: float) -> Tensor:
    """For statistics over the last axes."""
    variance = maps.var(tuple(range(-axes, 0)), correction=0, keepdim=True)
    scale = torch.rsqrt(variance + eps)
    return scale if weight is None else scale * weight
