"""A net in reduced precision: fast, and near enough to tell which images are worth a second look.

On a CPU the convolutions run in 8-bit integers, a quarter of float32's time where the processor
has instructions for it (VNNI); elsewhere the whole net runs in bfloat16. Weights are scaled per
filter, a layer's input by the range of each image, so nothing needs to be calibrated, nothing is
cut off, and no image is the worse for the others of its batch.
"""

import copy
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.core.graph.trace import Graph
from pipeline.core.heaps.peaks import Peaks
from pipeline.errors import first_line

log = logging.getLogger(__name__)

_FEWEST_CHANNELS = 16
"""Input channels of a filter from which on 8 bits pay: depthwise filters are bound by memory."""

_LEVELS = 254
"""One below the range of a byte, so that a rounded zero point cannot push the top out of it."""

_ALIKE = 3.0
"""How many times the narrowest range of a batch's images the widest may be for one scale to do."""

_ORDINARY = 4.0
"""How many times the usual range of a batch's images that of an ordinary one is at the most."""

_TINY = torch.finfo(torch.float32).tiny


def screened(graph: Graph, *, compiles: bool = True) -> Peaks:
    """The peaks of a net in reduced precision, on the device that its parameters are on.

    Their places are not looked for: they are all zero.

    Args:
        graph: of the net.
        compiles: whether it is compiled at its first batch, where it is on a GPU.
    """
    peaks = Peaks.of(graph, _largest)
    assert isinstance(peaks.trunk, fx.GraphModule)
    on_gpu = next(graph.trunk.parameters()).is_cuda
    if not on_gpu and has_integers():
        shapes = {name: step.shape for name, step in graph.steps.items()}
        trunk, exact = _in_integers(peaks.trunk, shapes), Peaks.of(graph, _largest).trunk
        convs = [part for part in trunk.modules() if isinstance(part, IntegerConv)]
        return replace(peaks, trunk=_Guarded(trunk, convs, exact) if convs else trunk)
    trunk = _in_bfloat16(peaks.trunk)
    return replace(peaks, trunk=Compiled(trunk) if on_gpu and compiles else trunk)


class Compiled(nn.Module):
    """A net that is compiled at its first batch; where that cannot be, it runs as it is.

    What is compiled rounds less often between layers, which only takes it nearer to float32.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.work = torch.compile(trunk, dynamic=False)

    def forward(self, images: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        """As the trunk."""
        try:
            found: Sequence[tuple[Tensor, Tensor]] = self.work(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers fail with nearly anything: there may be none
            if self.work is self.trunk:
                raise
            log.warning("Screening is not compiled here (%s); it takes longer.", first_line(error))
            self.work = self.trunk
            found = self.trunk(images)
        return found


class _Guarded(nn.Module):
    """A net in integers; of an image that is out of the ordinary what float32 makes of it.

    Rounding is as coarse as an image's range is wide. Where that is many times what it is of most
    images of the batch, the errors of the image are not those that the certificate has seen.
    """

    def __init__(self, trunk: nn.Module, convs: "Sequence[IntegerConv]", exact: nn.Module) -> None:
        super().__init__()
        self.trunk, self.exact, self._convs = trunk, exact, convs

    def forward(self, images: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        """As the trunk."""
        found: Sequence[tuple[Tensor, Tensor]] = self.trunk(images)
        widths = torch.stack([conv.widths for conv in self._convs])  # (convolutions, N)
        usual = widths.median(1, keepdim=True).values
        odd = (~(widths <= _ORDINARY * usual)).any(0)
        if odd.any():
            for (values, _), (right, _) in zip(found, self.exact(images[odd]), strict=True):
                values[odd] = right
        return found


def _largest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value of each map (N, C), and zeros."""
    values = maps.amax((2, 3))
    return values, torch.zeros((), dtype=torch.int64, device=maps.device).expand(values.shape)


def _in_bfloat16(trunk: fx.GraphModule) -> fx.GraphModule:
    """A copy; on a CPU torch has no response normalisation of bfloat16."""
    trunk = copy.deepcopy(trunk).bfloat16()
    for path, module in list(trunk.named_modules()):
        if isinstance(module, nn.LocalResponseNorm):
            trunk.set_submodule(path, _InFloat32(module))
    return trunk


class _InFloat32(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, maps: Tensor) -> Tensor:
        made: Tensor = self.module(maps.float())
        return made.to(maps.dtype)


@cache
def has_integers() -> bool:
    """Whether bytes are multiplied exactly: processors without VNNI add pairs in 16 bits."""
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not there or not hasattr(torch.ops.onednn, "qconv2d_pointwise"):
        return False
    conv = nn.Conv2d(_FEWEST_CHANNELS, _FEWEST_CHANNELS, 3, bias=False, device="meta")
    conv.weight = nn.Parameter(torch.ones(conv.weight.shape))  # no weights were drawn
    ones = torch.ones(1, _FEWEST_CHANNELS, 8, 8)  # the largest bytes, whose pairs overflow first
    return torch.allclose(IntegerConv(conv)(ones), conv(ones), rtol=1e-3)


def _in_integers(
    trunk: fx.GraphModule, shapes: Mapping[str, tuple[int, int, int]]
) -> fx.GraphModule:
    """The same with integer convolutions; a normalisation right behind one goes into it.

    `shapes`: (C, H, W) of what each step returns.
    """
    modules = dict(trunk.named_modules())
    for node in list(trunk.graph.nodes):
        conv = modules.get(str(node.target)) if node.op == "call_module" else None
        made = shapes.get(node.name)
        if made is None or not isinstance(conv, nn.Conv2d) or not _pays(conv, made):
            continue
        for user in list(node.users) if len(node.users) == 1 else ():
            norm = modules.get(str(user.target))
            if isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
                conv = fuse_conv_bn_eval(conv, norm)
                user.replace_all_uses_with(node)
                trunk.graph.erase_node(user)
        integer = IntegerConv(conv, rectified=_is_rectified(node.args[0], modules))
        trunk.set_submodule(str(node.target), integer)
    trunk.recompile()
    return trunk


def _pays(conv: nn.Conv2d, made: tuple[int, int, int]) -> bool:
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    geometry = zip(conv.kernel_size, conv.dilation, conv.padding, strict=True)
    if any(padding > (side - 1) * gap for side, gap, padding in geometry):
        return False  # a window may lie in the padding alone: oneDNN crashes there
    _, height, width = made
    if width == 1 < height:
        return False  # oneDNN skips rows of such maps, or reads others
    return conv.groups == 1 or conv.in_channels // conv.groups >= _FEWEST_CHANNELS


def _is_rectified(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether what a node returns is never below zero."""
    if node.target is F.relu:
        return True
    keeps = isinstance(modules.get(str(node.target)), nn.MaxPool2d | nn.AvgPool2d | nn.Dropout)
    if keeps or node.target in (torch.cat, F.max_pool2d, F.avg_pool2d, F.dropout):
        return all(_is_rectified(source, modules) for source in node.all_input_nodes)
    return False


class IntegerConv(nn.Module):
    """A convolution of float32 maps whose products are of 8-bit integers, summed in 32 bits.

    With weights w = s_w q_w and inputs x = s_x (q_x - z), s_w per filter and s_x and z from the
    range of the batch or, where its images are unlike, of each image,
    w * x = s_w s_x (q_w * (q_x - z)) but for the rounding of q_w and q_x.

    Args:
        conv: the convolution.
        rectified: whether its input is never below zero.
    """

    def __init__(self, conv: nn.Conv2d, *, rectified: bool = False) -> None:
        super().__init__()
        weight = conv.weight.detach().float()
        scale = (weight.abs().amax((1, 2, 3)) / 127).clamp_min(_TINY)
        levels = (weight / scale[:, None, None, None]).round().to(torch.int8)
        self.geometry = (
            list(conv.stride),
            [int(places) for places in conv.padding],
            list(conv.dilation),
            conv.groups,
        )
        self.rectified, self.bias = rectified, conv.bias
        self.scale, self.zeros = scale, torch.zeros(len(scale), dtype=torch.int32)
        self._of_thread = threading.local()
        self.packed = torch.ops.onednn.qconv_prepack(levels, scale, 1.0, 0, *self.geometry, None)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) float32 to what the convolution returns, float32."""
        low, high = self._ranges(maps)
        self._of_thread.widths = widths = high - low
        widest = float(widths.amax())
        if math.isfinite(widest) and widest <= _ALIKE * float(widths.amin()):
            return self._together(maps, float(low.amin()), float(high.amax()))
        return self._one_by_one(maps, low, high)

    @property
    def widths(self) -> Tensor:
        """(N,) how wide the range of each image of this thread's last batch was."""
        widths: Tensor = self._of_thread.widths
        return widths

    def _together(self, maps: Tensor, low: float, high: float) -> Tensor:
        scale = max((high - low) / _LEVELS, _TINY)
        zero = round(-low / scale)
        half_up = torch.tensor(zero + 0.5)
        levels = torch.add(half_up, maps, alpha=1 / scale).to(torch.uint8)
        return self._convolved(levels, scale, zero, self.bias)

    def _one_by_one(self, maps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Every image in a scale of its own, which is taken off again; zero is common to all."""
        zero = 0 if self.rectified else _LEVELS // 2
        scales = torch.maximum(high, -low) / (_LEVELS - zero)
        scales = scales.clamp_min(_TINY)[:, None, None, None]
        levels = (maps / scales).add_(zero + 0.5).to(torch.uint8)
        made = self._convolved(levels, 1.0, zero, None).mul_(scales)
        return made if self.bias is None else made.add_(self.bias[:, None, None])

    def _convolved(self, levels: Tensor, scale: float, zero: int, bias: Tensor | None) -> Tensor:
        made: Tensor = torch.ops.onednn.qconv2d_pointwise(
            levels, scale, zero, self.packed, self.scale, self.zeros, bias,
            *self.geometry, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return made

    def _ranges(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest value of each image; zero, which padding is, lies between."""
        # in the order in which they lie: else all of them would be copied first
        lying = maps if maps.is_contiguous() else maps.permute(0, 2, 3, 1)
        if self.rectified:
            high = lying.flatten(1).amax(1)
            return torch.zeros_like(high), high
        # many times as fast as along a dimension
        low, high = torch.tensor([torch.aminmax(image) for image in lying]).unbind(1)
        return low.clamp_max(0), high.clamp_min(0)
