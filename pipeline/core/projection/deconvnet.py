"""The deconvnet: one activation of a feature map, sent back to pixels.

Zeiler & Fergus, *Visualizing and Understanding Convolutional Networks* (2013), section 2.1: the
strongest position of a feature map is kept, the rest of the layer is set to zero, and the signal
goes down the net: unpool by the switches recorded on the way up, rectify, filter with the
transposed filters, without biases. The last filtering, to pixels, is not rectified.

A projection is zero outside the receptive field of its position, so on every level only the
window that can be reached is computed: a signal is a batch of windows of equal size, each at a
place of its own. Where windows reach over the border of a map, what would lie outside is zero.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.steps import (
    Add,
    Affine,
    AvgPool,
    Concat,
    Conv,
    Gate,
    GlobalPool,
    MaxPool,
    Pad,
    Pass,
    Rectify,
    Scale,
    Slice,
    Step,
)
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.projection.ascent import Ascent, ascend, ascend_windows
from pipeline.core.projection.batch import Seeds, WindowBatch
from pipeline.core.projection.clipping import Clipping, clipping_of
from pipeline.core.projection.filtering import filter_down
from pipeline.core.windows.placed import shares

__all__ = ["Ascent", "Seeds", "Unpooling", "ascend", "project", "project_on_windows"]

Unpooling = Literal["sum", "max"]

_LARGEST_SIGNAL = 2**23
"""Elements of the largest signal that goes up or down at once: 32 MiB in float32; more is not
faster."""


def project(
    graph: Graph, layer: Layer, ascent: Ascent, seeds: Seeds, unpooling: Unpooling = "sum"
) -> list[Tensor]:
    """Project positions of one layer back to the input, each seeded with its own activation.

    Args:
        graph: the net that `ascend` went up.
        layer: the layer of the positions.
        ascent: the forward pass of the images.
        seeds: n positions.
        unpooling: where one place is the maximum of several overlapping windows, add what they
            send down (the adjoint of pooling), or keep the largest.

    Returns:
        For each seed the projection of its receptive field clipped to the input (its
        `ReceptiveField.boxes`), (3, bottom - top, right - left); elsewhere it is zero.
    """
    projections: dict[int, Tensor] = {}
    with torch.inference_mode():
        for which, batch in _batches(graph, clipping_of(graph, layer), seeds):
            switches = partial(_switches, batch, ascent)
            descent = _Descent(batch, unpooling, switches, ascent.gates)
            made = descent.run(layer, ascent.at(layer.name, batch.seeds))
            projections.update(zip(which, made, strict=True))
    return [projections[number] for number in range(len(seeds))]


def project_on_windows(
    graph: Graph, layer: Layer, images: Tensor, seeds: Seeds, unpooling: Unpooling = "sum"
) -> tuple[Tensor, list[Tensor]]:
    """The same without a pass over the whole images: only what the positions read is computed.

    Args:
        graph: the net.
        layer: the layer of the positions; nothing below it looks at whole maps
            (`Clipping.is_local`).
        images: normalised, (N, 3, H, W); fastest channels last.
        seeds: n positions.
        unpooling: as in `project`.

    Returns:
        The activations (n,), and the projections as `project` returns them.
    """
    projections: dict[int, Tensor] = {}
    activations = images.new_zeros(len(seeds))
    with torch.inference_mode():
        for which, batch in _batches(graph, clipping_of(graph, layer), seeds):
            strongest, switches = ascend_windows(batch, layer, images)
            activations[which] = strongest
            descent = _Descent(batch, unpooling, partial(_recorded, switches), {})
            projections.update(zip(which, descent.run(layer, strongest), strict=True))
    return activations, [projections[number] for number in range(len(seeds))]


def _batches(
    graph: Graph, clipping: Clipping, seeds: Seeds
) -> Iterator[tuple[list[int], WindowBatch]]:
    """Seeds that go together, and their numbers."""
    y, x = seeds.y.cpu().numpy(), seeds.x.cpu().numpy()
    for members in clipping.batches(y, x):
        rows, columns = y[members], x[members]
        levels = clipping.windows(
            (int(rows.min()), int(columns.min())), (int(rows.max()), int(columns.max()))
        )
        largest = max(
            graph.steps[name].shape[0] * rows.size * columns.size
            for name, (rows, columns) in levels.items()
        )
        at_once = max(1, _LARGEST_SIGNAL // largest)
        for first in range(0, len(members), at_once):
            which = members[first : first + at_once].tolist()
            part = seeds[torch.tensor(which, device=seeds.y.device)]
            yield which, WindowBatch(graph, levels, part)


def _recorded(switches: Mapping[str, Tensor], step: Step) -> Tensor:
    return switches[step.name]


def _switches(batch: WindowBatch, ascent: Ascent, step: Step) -> Tensor:
    """Of a pass over whole images, what `ascend_windows` records of a max pool."""
    (branch,), (_, height, width) = step.inputs, step.shape
    y, x = batch.placed(batch.levels[step.name]).places
    # outside the map the signal is zero, and any switch will do
    y, x = y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None]
    maps = ascent.switches[step.name].permute(0, 2, 3, 1)
    switch = maps[batch.seeds.image[:, None, None], y, x].permute(0, 3, 1, 2)
    read = batch.placed(batch.read(step, branch))
    top, left = (first[:, None, None, None] for first in read.first)
    (rows, columns), (_, whole_width) = read.size, batch.size(branch)
    at_y = switch // whole_width
    place = (at_y - top) * columns + (switch - at_y * whole_width - left)
    return place.clamp_(0, rows * columns - 1)


# --- the way down -----------------------------------------------------------------------------


class _Descent:
    """The way down of one batch of seeds, all of one layer.

    Args:
        batch: the seeds and their windows.
        unpooling: as in `project`.
        switches: of a max pool: index of each maximum in the flattened window that it reads,
            (n, C, h, w).
        gates: gate → the scale of each map, (N, C, 1, 1).
    """

    def __init__(
        self,
        batch: WindowBatch,
        unpooling: Unpooling,
        switches: Callable[[Step], Tensor],
        gates: Mapping[str, Tensor],
    ) -> None:
        self.batch, self.graph, self.seeds = batch, batch.graph, batch.seeds
        self.unpooling, self.switches, self.gates = unpooling, switches, gates

    def run(self, layer: Layer, activations: Tensor) -> list[Tensor]:
        """The projections of the seeds, each seeded with its activation."""
        seed = activations.new_zeros(len(self.seeds), layer.maps, 1, 1)
        seed[torch.arange(len(self.seeds)), self.seeds.feature_map, 0, 0] = activations
        signals = {layer.step: seed}
        entrance = next(iter(self.graph.steps))
        first = _first_filtering(self.graph, layer)
        for step in reversed(self.graph.steps.values()):
            if step.name not in signals or step.name == entrance:
                continue
            signal = signals.pop(step.name)
            single = step.name == first
            parts = [self._filter(signal, step)] if single else self._below(step, signal)
            for source, part in zip(step.sources, parts, strict=True):
                self._arrive(signals, source, part, step)
        return self._clip(signals[entrance], layer, entrance)

    def _clip(self, signal: Tensor, layer: Layer, entrance: str) -> list[Tensor]:
        """Cut each seed's box out of its window of the input."""
        y, x = self.seeds.y.cpu().numpy(), self.seeds.x.cpu().numpy()
        rows, columns = self.batch.levels[entrance]
        field = receptive_field(self.graph, layer)
        boxes = field.boxes(y, x, self.batch.size(entrance)).astype(np.int64)
        boxes[:, ::2] -= (y * rows.stride + rows.start)[:, None]
        boxes[:, 1::2] -= (x * columns.stride + columns.start)[:, None]
        if (boxes == boxes[0]).all():
            top, left, bottom, right = boxes[0].tolist()
            return list(signal[:, :, top:bottom, left:right].unbind())
        return [
            window[:, top:bottom, left:right]
            for window, (top, left, bottom, right) in zip(signal, boxes.tolist(), strict=True)
        ]

    def _filter(self, signal: Tensor, step: Step) -> Tensor:
        """The filter of each seed's map, scaled: all that one value sends down."""
        assert isinstance(step.op, Conv)
        maps = self.seeds.feature_map
        values = signal[torch.arange(len(signal), device=signal.device), maps]
        return step.op.module.weight[maps] * values[:, None]

    def _below(self, step: Step, signal: Tensor) -> list[Tensor]:
        """What a step sends down to each of its branches."""
        branches = step.sources
        match step.op:
            case Conv():
                return [filter_down(signal, step.op)]
            case MaxPool():
                return [self._unpool(signal, step)]
            case AvgPool():
                return [self._spread(signal, step)]
            case GlobalPool():
                height, width = self.batch.size(branches[0])
                return [signal.expand(-1, -1, height, width) / (height * width)]
            case Affine(module=norm):
                return [signal.mul_(_scale(norm)[:, None, None])]
            case Rectify():
                return [signal.clamp_min_(0)]
            case Scale(factor=factor):
                return [signal.mul_(factor)]
            case Concat():
                maps = [self.graph.steps[branch].shape[0] for branch in branches]
                return list(torch.split(signal, maps, 1))
            case Slice(first=start):
                n, part, height, width = signal.shape
                whole = signal.new_zeros(n, self.graph.steps[branches[0]].shape[0], height, width)
                whole[:, start : start + part] = signal
                return [whole]
            case Gate():
                return [signal * self.gates[step.name][self.seeds.image]]
            case Add(weights=weights) if weights:
                return [signal * weight for weight in weights]
            case _:  # Add and Pass; what arrives may be overwritten
                return [signal, *(signal.clone() for _ in branches[1:])]

    def _arrive(self, signals: dict[str, Tensor], branch: str, part: Tensor, step: Step) -> None:
        """Add what came down to what other users of the branch sent, each at its place."""
        window = self.batch.levels[branch]
        part = self.batch.fit(part, self.batch.read(step, branch), window)
        if isinstance(step.op, Conv | AvgPool | Pad):  # what reached into padding is dropped
            self.batch.blank(part, window, self.batch.size(branch))
        signals[branch] = signals[branch] + part if branch in signals else part

    def _unpool(self, signal: Tensor, step: Step) -> Tensor:
        """Send each value to the place that its maximum came from."""
        assert isinstance(step.op, MaxPool)
        k, (n, maps) = step.op.kernel, signal.shape[:2]
        rows, columns = self.batch.read(step, step.inputs[0])
        place = self.switches(step)
        if self.unpooling == "sum":
            like = signal.new_empty(n, rows.size, columns.size, maps).permute(0, 3, 1, 2)
            summed: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
                signal, like, k.size, k.stride, (0, 0), k.dilation, False, place
            )
            return summed
        down = signal.new_zeros(n, maps, rows.size * columns.size)
        # a zero of another window is not larger than a signal that is only negative
        down.scatter_reduce_(2, place.flatten(2), signal.flatten(2), "amax", include_self=False)
        return down.view(n, maps, rows.size, columns.size)

    def _spread(self, signal: Tensor, step: Step) -> Tensor:
        """The adjoint of a mean: each value goes in equal shares to all that it averaged."""
        assert isinstance(step.op, AvgPool)
        k, maps = step.op.kernel, signal.shape[1]
        kernel = signal.new_ones(maps, 1, *k.size)
        placed = self.batch.placed(self.batch.levels[step.name])
        signal = signal * shares(step.op, self.batch.size(step.inputs[0]), placed, signal)
        return F.conv_transpose2d(signal, kernel, None, k.stride, groups=maps)


def _first_filtering(graph: Graph, layer: Layer) -> str | None:
    """The convolution that a seed's one value still reaches alone, if nothing else comes first."""
    step = graph.steps[layer.step]
    while isinstance(step.op, Rectify | Affine | Pass | Scale):
        step = graph.steps[step.inputs[0]]
    match step.op:
        case Conv(module=conv, kernel=k) if conv.groups == 1 and k.dilation == (1, 1):
            return step.name
    return None


def _scale(norm: torch.nn.BatchNorm2d | torch.nn.SyncBatchNorm) -> Tensor:
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    return scale if norm.weight is None else scale * norm.weight
