"""A net in reduced precision: fast, and near enough to tell which images are worth a second look.

On a CPU the convolutions run in 8-bit integers, a quarter of float32's time where the processor
has instructions for it (VNNI); elsewhere the whole net runs in bfloat16. Weights are scaled per
filter, a layer's input per batch, so nothing needs to be calibrated and nothing is cut off.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from pipeline.core.graph import Graph
from pipeline.core.peaks import Peaks

_FEWEST_CHANNELS = 16
"""Input channels of a filter from which on 8 bits pay: depthwise filters are bound by memory."""

_LEVELS = 254
"""One below the range of a byte, so that a rounded zero point cannot push the top out of it."""


def screened(graph: Graph) -> Peaks:
    """The peaks of a net in reduced precision, on the device that its parameters are on."""
    peaks = Peaks.of(graph)
    trunk = fx.GraphModule(peaks.trunk, peaks.trunk.graph)  # modules are put in place of its own
    if next(graph.trunk.parameters()).device.type == "cpu" and _has_integers():
        for path, conv in list(_convolutions(trunk)):
            trunk.set_submodule(path, IntegerConv(conv))
    else:
        trunk = copy.deepcopy(trunk).bfloat16()
    return replace(peaks, trunk=trunk)


def _has_integers() -> bool:
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and hasattr(torch.ops.onednn, "qconv2d_pointwise")


def _convolutions(trunk: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    for path, module in trunk.named_modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
            and (module.groups == 1 or module.in_channels // module.groups >= _FEWEST_CHANNELS)
        ):
            yield path, module


class IntegerConv(nn.Module):
    """A convolution of float32 maps whose products are of 8-bit integers, summed in 32 bits.

    With weights w = s_w q_w and inputs x = s_x (q_x - z), s_w per filter and s_x and z from the
    range of the batch, w * x = s_w s_x (q_w * (q_x - z)) but for the rounding of q_w and q_x.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight = conv.weight.detach().float()
        scale = (weight.abs().amax((1, 2, 3)) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        rounded = (weight / scale[:, None, None, None]).round().to(torch.int8)
        self.geometry = (
            list(conv.stride),
            [int(rows) for rows in conv.padding],
            list(conv.dilation),
            conv.groups,
        )
        self.bias = conv.bias
        self.scale, self.zeros = scale, torch.zeros(len(scale), dtype=torch.int32)
        self.packed = torch.ops.onednn.qconv_prepack(rounded, scale, 1.0, 0, *self.geometry, None)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) float32 to what the convolution returns, float32."""
        # in the order in which they lie; else all of them would be copied
        lying = maps if maps.is_contiguous() else maps.permute(0, 2, 3, 1)
        low, high = (float(bound) for bound in torch.aminmax(lying))
        low, high = min(low, 0.0), max(high, 0.0)  # padding, which is zero, is in the range too
        scale = max((high - low) / _LEVELS, torch.finfo(torch.float32).tiny)
        zero = round(-low / scale) if math.isfinite(scale) else 0  # what is not finite stays so
        half_up = torch.tensor(zero + 0.5)
        levels = torch.add(half_up, maps, alpha=1 / scale).to(torch.uint8)
        made: Tensor = torch.ops.onednn.qconv2d_pointwise(
            levels, scale, zero, self.packed, self.scale, self.zeros, self.bias,
            *self.geometry, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return made
