"""The deconvnet: one activation of a feature map, sent back to pixels.

Zeiler & Fergus, *Visualizing and Understanding Convolutional Networks* (2013), section 2.1: the
strongest position of a feature map is kept, the rest of the layer is set to zero, and the signal
goes down the net: unpool by the switches recorded on the way up, rectify, filter with the
transposed filters, without biases. The last filtering, to pixels, is not rectified.

A projection is zero outside the receptive field of its position, so on every level only the
window that can be reached is computed: a signal is a batch of windows of equal size, each at a
place of its own. Windows reach over the border of a map where the net pads; what would lie
outside is zero.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from pipeline.core.graph import Graph, Layer
from pipeline.core.receptive_field import (
    ReceptiveField,
    Window,
    Windows,
    below,
    receptive_field,
    sources,
    windows,
)
from pipeline.core.steps import (
    Affine,
    AvgPool,
    Concat,
    Conv,
    Gate,
    GlobalPool,
    MaxPool,
    Rectify,
    Step,
)

Unpooling = Literal["sum", "max"]

_LARGEST_SIGNAL = 2**25
"""Elements of the largest signal that goes down at once: 128 MiB in float32."""


@dataclass(frozen=True)
class Seeds:
    """Positions of one layer to project, n of them; int64 tensors of shape (n,).

    Attributes:
        image: which image of the ascent.
        feature_map: which channel.
        y: row in the feature map.
        x: column in the feature map.
    """

    image: Tensor
    feature_map: Tensor
    y: Tensor
    x: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, part: slice) -> "Seeds":
        return Seeds(self.image[part], self.feature_map[part], self.y[part], self.x[part])


@dataclass(frozen=True)
class Ascent:
    """What one forward pass leaves behind for the way down.

    Attributes:
        activations: layer → its feature maps, (N, C, H, W).
        switches: max pool → index of each maximum in the flattened map below, (N, C, H, W).
        gates: gate → the scale of each map, (N, C, 1, 1).
    """

    activations: dict[str, Tensor]
    switches: dict[str, Tensor]
    gates: dict[str, Tensor]

    def at(self, layer: str, seeds: Seeds) -> Tensor:
        """The activations at these positions, (n,)."""
        return self.activations[layer][seeds.image, seeds.feature_map, seeds.y, seeds.x]


def ascend(graph: Graph, images: Tensor) -> Ascent:
    """Run the net on normalised images (N, 3, H, W), recording switches and gates."""
    recorder = _Recorder(graph)
    with torch.inference_mode():
        outputs = recorder.run(images)
    names = (layer.name for layer in graph.layers)
    return Ascent(dict(zip(names, outputs, strict=True)), recorder.switches, recorder.gates)


class _Recorder(fx.Interpreter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.trunk)
        self.steps = graph.steps
        self.switches: dict[str, Tensor] = {}
        self.gates: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        step = self.steps.get(n.name)
        if step is not None and isinstance(step.op, MaxPool):
            k = step.op.kernel
            below = self.env[n.all_input_nodes[0]]
            values, self.switches[n.name] = F.max_pool2d(
                below, k.size, k.stride, k.padding, k.dilation, step.op.ceil_mode,
                return_indices=True,
            )  # fmt: skip
            return values
        if step is not None and isinstance(step.op, Gate):
            self.gates[n.name] = self.env[n.all_input_nodes[1 - step.op.scaled]]
        return super().run_node(n)


def project(
    graph: Graph, layer: Layer, ascent: Ascent, seeds: Seeds, unpooling: Unpooling = "sum"
) -> list[Tensor]:
    """Project positions of one layer back to the input, each seeded with its own activation.

    Args:
        graph: the net that `ascent` went up.
        layer: the layer of the positions.
        ascent: the forward pass of the images.
        seeds: n positions.
        unpooling: where one place is the maximum of several overlapping windows, add what they
            send down (the adjoint of pooling), or keep the largest.

    Returns:
        For each seed the projection of its receptive field clipped to the input (its
        `ReceptiveField.boxes`), (3, bottom - top, right - left); elsewhere it is zero.
    """
    levels = windows(graph, layer, within_maps=True)
    largest = max(
        graph.steps[name].shape[0] * rows.size * columns.size
        for name, (rows, columns) in levels.items()
    )
    at_once = max(1, _LARGEST_SIGNAL // largest)
    projections: list[Tensor] = []
    with torch.inference_mode():
        for first in range(0, len(seeds), at_once):
            descent = _Descent(graph, levels, ascent, seeds[first : first + at_once], unpooling)
            projections += descent.run(layer)
    return projections


class _Descent:
    """The way down of one batch of seeds, all of one layer."""

    def __init__(
        self,
        graph: Graph,
        levels: dict[str, Windows],
        ascent: Ascent,
        seeds: Seeds,
        unpooling: Unpooling,
    ) -> None:
        self.graph, self.levels, self.ascent = graph, levels, ascent
        self.seeds, self.unpooling = seeds, unpooling

    def run(self, layer: Layer) -> list[Tensor]:
        activation = self.ascent.at(layer.name, self.seeds)
        seed = activation.new_zeros(len(self.seeds), layer.maps, 1, 1)
        seed[torch.arange(len(self.seeds)), self.seeds.feature_map, 0, 0] = activation
        signals = {layer.step: seed}
        entrance = next(iter(self.graph.steps))
        for step in reversed(self.graph.steps.values()):
            if step.name not in signals or step.name == entrance:
                continue
            signal = signals.pop(step.name)
            branches = sources(step.op, step.inputs)
            for source, part in zip(branches, self._below(step, signal, branches), strict=True):
                self._arrive(signals, source, part, step)
        return self._clip(signals[entrance], receptive_field(self.graph, layer), entrance)

    def _clip(self, signal: Tensor, field: ReceptiveField, entrance: str) -> list[Tensor]:
        """Cut each seed's box out of its window of the input."""
        _, height, width = self.graph.steps[entrance].shape
        y, x = self.seeds.y.cpu().numpy(), self.seeds.x.cpu().numpy()
        rows, columns = self.levels[entrance]
        return [
            one[:, top - first_y : bottom - first_y, left - first_x : right - first_x]
            for one, (top, left, bottom, right), first_y, first_x in zip(
                signal,
                field.boxes(y, x, (height, width)).tolist(),
                (y * rows.stride + rows.start).tolist(),
                (x * columns.stride + columns.start).tolist(),
                strict=True,
            )
        ]

    def _below(self, step: Step, signal: Tensor, branches: tuple[str, ...]) -> list[Tensor]:
        """What a step sends down to each of its branches."""
        match step.op:
            case Conv(module=conv, kernel=k):
                down = F.conv_transpose2d(
                    signal, conv.weight, None, k.stride, 0, 0, conv.groups, k.dilation
                )
                return [self._inside(down, step, branches[0])]
            case MaxPool():
                return [self._unpool(signal, step, branches[0])]
            case AvgPool():
                return [self._inside(self._spread(signal, step, branches[0]), step, branches[0])]
            case GlobalPool():
                _, height, width = self.graph.steps[branches[0]].shape
                return [signal.expand(-1, -1, height, width) / (height * width)]
            case Affine(module=norm):
                return [signal * _scale(norm)[:, None, None]]
            case Rectify():
                return [signal.clamp_min(0)]
            case Concat():
                return list(
                    torch.split(signal, [self.graph.steps[b].shape[0] for b in branches], 1)
                )
            case Gate():
                return [signal * self.ascent.gates[step.name][self.seeds.image]]
            case _:  # Add and Pass
                return [signal] * len(branches)

    def _arrive(self, signals: dict[str, Tensor], branch: str, part: Tensor, step: Step) -> None:
        """Add what came down to what other users of the branch sent, each at its place."""
        for axis in (0, 1):
            part = self._place(
                part, axis, self._sent(step, branch)[axis], self.levels[branch][axis]
            )
        signals[branch] = signals[branch] + part if branch in signals else part

    def _place(self, part: Tensor, axis: int, sent: Window, window: Window) -> Tensor:
        """Widen (or crop) rows or columns from the window that was sent to another one."""
        if sent == window:
            return part
        if sent.stride == window.stride:  # the same for every seed
            before = sent.start - window.start
            margins = (before, window.size - sent.size - before)
            return F.pad(part, (0, 0, *margins) if axis == 0 else margins)
        # from a window that moves to the whole map: each seed's part has a place of its own
        position = (self.seeds.y, self.seeds.x)[axis]
        first = (position * sent.stride + sent.start)[:, None]
        taken = torch.arange(window.size, device=part.device) - first
        shape = (len(part), 1, -1, 1) if axis == 0 else (len(part), 1, 1, -1)
        index = taken.clamp(0, sent.size - 1).view(shape)
        known = ((taken >= 0) & (taken < sent.size)).view(shape)
        sizes = list(part.shape)
        sizes[axis + 2] = window.size
        return part.gather(axis + 2, index.expand(sizes)) * known

    def _sent(self, step: Step, branch: str) -> Windows:
        return below(step.op, self.levels[step.name], self.graph.steps[branch].shape[1:])

    def _places(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Rows (n, h, 1) and columns (n, 1, w) of the map that the windows lie on."""
        rows, columns = windows
        reach = torch.arange(max(rows.size, columns.size), device=self.seeds.y.device)
        y = (self.seeds.y * rows.stride + rows.start)[:, None] + reach[: rows.size]
        x = (self.seeds.x * columns.stride + columns.start)[:, None] + reach[: columns.size]
        return y[:, :, None], x[:, None, :]

    def _inside(self, signal: Tensor, step: Step, branch: str) -> Tensor:
        """Nothing lies outside the map: what reached into its padding is dropped."""
        y, x = self._places(self._sent(step, branch))
        _, height, width = self.graph.steps[branch].shape
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return signal if bool(inside.all()) else signal * inside[:, None]

    def _unpool(self, signal: Tensor, step: Step, branch: str) -> Tensor:
        """Send each value to the place that its maximum came from."""
        n, maps = signal.shape[:2]
        _, height, width = step.shape
        y, x = self._places(self.levels[step.name])
        # outside the map the signal is zero, and any switch will do
        image, channel = self.seeds.image[:, None, None, None], torch.arange(maps)[:, None, None]
        switch = self.ascent.switches[step.name][
            image,
            channel.to(image.device),
            y.clamp(0, height - 1)[:, None],
            x.clamp(0, width - 1)[:, None],
        ]
        rows, columns = self._sent(step, branch)
        first_y, first_x = (place.flatten(1)[:, :1] for place in self._places((rows, columns)))
        below_width = self.graph.steps[branch].shape[2]
        at_y = switch.flatten(1) // below_width - first_y
        at_x = switch.flatten(1) % below_width - first_x
        place = (at_y * columns.size + at_x).clamp(0, rows.size * columns.size - 1)
        place = place.view(n, maps, -1)
        down = signal.new_zeros(n, maps, rows.size * columns.size)
        if self.unpooling == "sum":
            down.scatter_add_(2, place, signal.flatten(2))
        else:
            # a zero of another window is not larger than a signal that is only negative
            down.scatter_reduce_(2, place, signal.flatten(2), "amax", include_self=False)
        return down.view(n, maps, rows.size, columns.size)

    def _spread(self, signal: Tensor, step: Step, branch: str) -> Tensor:
        """The adjoint of a mean: each value goes in equal shares to all that it averaged."""
        pool = step.op
        assert isinstance(pool, AvgPool)
        k, maps = pool.kernel, signal.shape[1]
        _, height, width = step.shape
        y, x = (
            place.clamp(0, size - 1)
            for place, size in zip(
                self._places(self.levels[step.name]), (height, width), strict=True
            )
        )
        ones = signal.new_ones(1, 1, *self.graph.steps[branch].shape[1:])
        options = (k.size, k.stride, k.padding, pool.ceil_mode)
        averaged = F.avg_pool2d(ones, *options, divisor_override=1)
        mean = F.avg_pool2d(ones, *options, pool.count_include_pad, pool.divisor)
        share = (mean / averaged)[0, 0][y, x]
        kernel = signal.new_ones(maps, 1, *k.size)
        return F.conv_transpose2d(signal * share[:, None], kernel, None, k.stride, groups=maps)


def _scale(norm: torch.nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    return scale if norm.weight is None else scale * norm.weight
