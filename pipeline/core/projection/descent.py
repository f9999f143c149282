"""The way down of one batch of seeds, step by step.

What each kind of step sends down is stated where the kind is, in `graph.steps`.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pipeline.core.graph.linear import run_from
from pipeline.core.graph.receptive_field import receptive_field, whole_map
from pipeline.core.graph.steps import (
    AdaptiveMax,
    Add,
    Affine,
    AvgPool,
    Concat,
    Conv,
    Gate,
    GlobalPool,
    Linear,
    MaxPool,
    Normalise,
    Pad,
    Pair,
    Pass,
    Product,
    Rectify,
    Scale,
    Select,
    Step,
)
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.projection.batch import WindowBatch
from pipeline.core.projection.filtering import filter_down
from pipeline.core.windows.placed import shares

Unpooling = Literal["sum", "max"]


class Descent:
    """The way down of one batch of seeds, all of one layer.

    Args:
        batch: the seeds and their windows.
        unpooling: as in `project`.
        switches: of a max pool: index of each maximum in the flattened window that it reads,
            (n, C, h, w).
        scales: step → for each of its sources, what `scales.scales` returns.
    """

    def __init__(
        self,
        batch: WindowBatch,
        unpooling: Unpooling,
        switches: Callable[[Step], Tensor],
        scales: Mapping[str, tuple[Tensor, ...]],
    ) -> None:
        self.batch, self.graph, self.seeds = batch, batch.graph, batch.seeds
        self.unpooling, self.switches, self.scales = unpooling, switches, scales

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
                return [signal.mul_(_on(signal, factor))]
            case Concat():
                maps = [self.graph.steps[branch].shape[0] for branch in branches]
                return list(torch.split(signal, maps, 1))
            case Select(maps=taken):
                n, _, height, width = signal.shape
                whole = signal.new_zeros(n, self.graph.steps[branches[0]].shape[0], height, width)
                return [whole.index_add_(1, torch.tensor(taken, device=signal.device), signal)]
            case Gate() | Product() | Normalise():
                return [self._scaled(signal, step, scale) for scale in self.scales[step.name]]
            case Linear():
                return self._transpose(signal, step)
            case AdaptiveMax():
                return [self._unpool_whole(signal, step)]
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
        return self._scatter(signal, place, (rows.size, columns.size))

    def _unpool_whole(self, signal: Tensor, step: Step) -> Tensor:
        """The same of a pool whose windows are of unequal size."""
        place = self.switches(step)
        return self._scatter(self._on_map(signal, step), place, self.batch.size(step.inputs[0]))

    def _scatter(self, signal: Tensor, place: Tensor, size: Pair) -> Tensor:
        n, maps = signal.shape[:2]
        down = signal.new_zeros(n, maps, size[0] * size[1])
        if self.unpooling == "sum":
            down.scatter_add_(2, place.flatten(2), signal.flatten(2))
        else:  # a zero of another window is not larger than a signal that is only negative
            down.scatter_reduce_(2, place.flatten(2), signal.flatten(2), "amax", include_self=False)
        return down.view(n, maps, *size)

    def _transpose(self, signal: Tensor, step: Step) -> list[Tensor]:
        """What a linear operation sends down, on whole maps."""
        trunk = self.graph.trunk
        (node,) = (node for node in trunk.graph.nodes if node.name == step.name)
        signal = self._on_map(signal, step)
        with torch.inference_mode(False), torch.enable_grad():
            zeros = {
                source: torch.zeros_like(signal[:, :1, :1, :1])
                .expand(-1, *self.graph.steps[source].shape)
                .requires_grad_()
                for source in step.inputs
            }
            made = run_from(fx.Interpreter(trunk), node, zeros)
            parts = torch.autograd.grad(made, list(zeros.values()), signal)
        return [part.clone() for part in parts]  # may share memory, and may be overwritten

    def _on_map(self, signal: Tensor, step: Step) -> Tensor:
        """The signal on the whole map instead of on windows of it."""
        whole = whole_map(self.batch.size(step.name))
        return self.batch.fit(signal, self.batch.levels[step.name], whole)

    def _scaled(self, signal: Tensor, step: Step, scale: Tensor) -> Tensor:
        """The signal times what its places were scaled by, (N, C, H, W) or with a 1 for any."""
        if scale.shape[2:] == (1, 1):
            return signal * scale[self.seeds.image]
        y, x = (
            place.clamp(0, side - 1)  # outside the map the signal is zero
            for place, side in zip(
                self.batch.placed(self.batch.levels[step.name]).places, scale.shape[2:], strict=True
            )
        )
        image = self.seeds.image[:, None, None]
        there = scale.permute(0, 2, 3, 1)[image, y[:, :, None], x[:, None]]
        return signal * there.permute(0, 3, 1, 2)

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
        step = graph.steps[step.sources[0]]
    match step.op:
        case Conv(module=conv, kernel=k) if conv.groups == 1 and k.dilation == (1, 1):
            return step.name
    return None


def _on(signal: Tensor, factor: float | Tensor) -> float | Tensor:
    return factor.to(signal) if isinstance(factor, Tensor) else factor


def _scale(norm: nn.BatchNorm2d | nn.SyncBatchNorm | nn.InstanceNorm2d) -> Tensor:
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    return scale if norm.weight is None else scale * norm.weight
