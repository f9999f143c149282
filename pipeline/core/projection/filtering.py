"""Convolutions of windows, up and down, each in the way that is fastest for its shape.

torch's convolutions are made for maps. On one core they reach half of what the processor can do
where a window is only a few places wide, and a sixth on the way down to the three channels of an
image, whose vectors stay nearly empty. Written in other ways the first come near to the rest, and
the last are 2.5 (VGG16) to 4 times (AlexNet) as fast. On other devices, and with groups or
dilation, torch's own are used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.core.graph.steps import Conv
from pipeline.core.windows.forward import convolve

_NARROW = 4
"""Places: windows up to this width are filtered by a matrix product (3 places: 1.6 to 2 times as
fast as a convolution; 5: alike; 8: slower)."""

_NARROW_DEEP = 5
_DEEP = 192
"""Up to this width, where so many channels are summed over."""

_FEW = 4
"""Channels that fill a vector badly."""


def filter_up(below: Tensor, conv: Conv) -> Tensor:
    """The convolution with its bias, but without its padding, of (n, C, h, w), channels last."""
    module, k = conv.module, conv.kernel
    width = (below.shape[3] - k.size[1]) // k.stride[1] + 1
    narrow = width <= (_NARROW_DEEP if module.in_channels >= _DEEP else _NARROW)
    if narrow and _is_plain(conv, below):
        return _product_up(below, conv)
    return convolve(below, conv)


def filter_down(signal: Tensor, conv: Conv) -> Tensor:
    """The transposed convolution, without bias, of (n, C, h, w), channels last."""
    module, k = conv.module, conv.kernel
    if _is_plain(conv, signal):
        if module.in_channels <= _FEW:
            return _interleaved_down(signal, conv) if max(k.stride) > 1 else _few_down(signal, conv)
        deep = module.out_channels >= _DEEP
        narrow = signal.shape[3] <= (_NARROW_DEEP if deep else _NARROW)
        if narrow and len(signal) > 1 and k.stride == (1, 1):
            return _product_down(signal, conv)
    return F.conv_transpose2d(
        signal, module.weight, None, k.stride, 0, 0, module.groups, k.dilation
    )


def _is_plain(conv: Conv, like: Tensor) -> bool:
    plain = conv.module.groups == 1 and conv.kernel.dilation == (1, 1)
    return plain and like.device.type == "cpu"


def _product_up(below: Tensor, conv: Conv) -> Tensor:
    """One row of a matrix for every place: all that its kernel reads."""
    module, k = conv.module, conv.kernel
    patches = below.permute(0, 2, 3, 1).unfold(1, k.size[0], k.stride[0])
    patches = patches.unfold(2, k.size[1], k.stride[1])  # (n, h, w, C, kh, kw)
    n, height, width = patches.shape[:3]
    rows = patches.permute(0, 1, 2, 4, 5, 3).reshape(n * height * width, -1)
    filters = module.weight.permute(0, 2, 3, 1).reshape(module.out_channels, -1)
    return F.linear(rows, filters, module.bias).view(n, height, width, -1).permute(0, 3, 1, 2)


def _product_down(signal: Tensor, conv: Conv) -> Tensor:
    """What each place sends to all that its kernel reads, added up; stride 1."""
    module, (kh, kw) = conv.module, conv.kernel.size
    n, channels, height, width = signal.shape
    rows = signal.permute(0, 2, 3, 1).reshape(-1, channels)
    sent = rows @ module.weight.permute(0, 2, 3, 1).reshape(channels, -1)
    sent = sent.view(n, height, width, kh, kw, module.in_channels)
    down = signal.new_zeros(n, height + kh - 1, width + kw - 1, module.in_channels)
    for y in range(kh):
        for x in range(kw):
            down[:, y : y + height, x : x + width] += sent[:, :, :, y, x]
    return down.permute(0, 3, 1, 2)


def _few_down(signal: Tensor, conv: Conv) -> Tensor:
    """The same to few channels: whole planes are added; stride 1."""
    module, (kh, kw) = conv.module, conv.kernel.size
    n, channels, height, width = signal.shape
    filters = module.weight.reshape(channels, -1).T
    sent = (filters @ signal.reshape(n, channels, -1)).view(n, -1, kh, kw, height, width)
    down = signal.new_zeros(n, module.in_channels, height + kh - 1, width + kw - 1)
    for y in range(kh):
        for x in range(kw):
            down[:, :, y : y + height, x : x + width] += sent[:, :, y, x]
    return down


def _interleaved_down(signal: Tensor, conv: Conv) -> Tensor:
    """The same with a stride: every s-th row and column is a convolution of its own.

    All of them together have s × s times the channels, which fill the vectors, and are put
    between each other at the end.
    """
    module, (kh, kw), (sy, sx) = conv.module, conv.kernel.size, conv.kernel.stride
    few, (height, width) = module.in_channels, signal.shape[2:]
    rows, columns = -(-kh // sy), -(-kw // sx)
    filters = F.pad(module.weight, (0, columns * sx - kw, 0, rows * sy - kh))
    filters = filters.view(-1, few, rows, sy, columns, sx).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
    filters = filters.reshape(few * sy * sx, -1, rows, columns)
    filters = filters.contiguous(memory_format=torch.channels_last)
    parts = F.conv2d(signal, filters, None, 1, (rows - 1, columns - 1))
    parts = parts.view(len(signal), few, sy, sx, *parts.shape[2:]).permute(0, 1, 4, 2, 5, 3)
    whole = parts.reshape(len(signal), few, parts.shape[2] * sy, -1)
    return whole[:, :, : (height - 1) * sy + kh, : (width - 1) * sx + kw]
