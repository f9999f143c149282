"""The way up: the net run on whole images, or on what single positions read of them.

Both leave behind what the way down needs: where each maximum came from, and the scales of gates.
On windows, a step computes for n seeds of one layer a tensor (n, C, h, w); each seed has a place
of its own. What lies outside a map of the net is what the operation that reads it pads with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.fx.node import map_arg

from pipeline.core.filtering import filter_up
from pipeline.core.graph import Graph, Layer
from pipeline.core.receptive_field import Window, Windows, below
from pipeline.core.steps import AvgPool, Conv, Gate, MaxPool, Pair, Step

_LARGE = 2000
"""Pixels: windows above this are copied one by one, smaller ones picked pixel by pixel."""


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

    def __getitem__(self, part: slice | Tensor) -> "Seeds":
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


# --- windows ----------------------------------------------------------------------------------


class WindowBatch:
    """Seeds of one layer whose windows are of equal size, and where these lie.

    Args:
        graph: the net.
        levels: for every step that the seeds read, their window there.
        seeds: n of them.
    """

    def __init__(self, graph: Graph, levels: dict[str, Windows], seeds: Seeds) -> None:
        self.graph, self.levels, self.seeds = graph, levels, seeds
        self._at = (seeds.y, seeds.x)
        self._ends = tuple((int(at.min()), int(at.max())) for at in self._at)

    def read(self, step: Step, source: str) -> Windows:
        """The window of an input that a step reads to make its own."""
        return below(step.op, self.levels[step.name], self.graph.steps[source].shape[1:])

    def places(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Rows (n, h) and columns (n, w) of the map that the windows lie on."""
        y, x = (
            (at * window.stride + window.start)[:, None]
            + torch.arange(window.size, device=at.device)
            for at, window in zip(self._at, windows, strict=True)
        )
        return y, x

    def blank(self, values: Tensor, windows: Windows, size: Pair, fill: float = 0.0) -> None:
        """Overwrite what of (n, C, h, w) lies outside a map of a size."""
        for axis, (window, places) in enumerate(zip(windows, size, strict=True)):
            first, last = (end * window.stride + window.start for end in self._ends[axis])
            before, behind = max(0, -first), max(0, last + window.size - places)
            at = self._at[axis] * window.stride + window.start
            for strip, length in ((0, before), (max(0, window.size - behind), behind)):
                if length:  # few rows or columns: the rest need not be touched
                    length = min(length, window.size)
                    place = at[:, None] + torch.arange(strip, strip + length, device=at.device)
                    outside = ((place < 0) | (place >= places))[:, None]
                    outside = outside[:, :, :, None] if axis == 0 else outside[:, :, None]
                    values.narrow(axis + 2, strip, length).masked_fill_(outside, fill)

    def fit(self, part: Tensor, held: Windows, wanted: Windows, fill: float = 0.0) -> Tensor:
        """Widen or crop (n, C, h, w) from one window to another of the same map."""
        margins: list[int] = []
        for axis in (1, 0):  # as padding is given: the last axis first
            one, other = held[axis], wanted[axis]
            before = one.start - other.start
            behind = other.size - one.size - before
            if one.stride != other.stride:
                part = self._move(part, axis, one, other, fill)
                margins += [0, 0]
            elif -min(before, behind) >= one.size:  # they have no place in common
                sizes = list(part.shape)
                sizes[axis + 2] = other.size
                part = part.new_full(sizes, fill)
                margins += [0, 0]
            else:  # the same for every seed
                margins += [before, behind]
        return F.pad(part, margins, value=fill) if any(margins) else part

    def _move(self, part: Tensor, axis: int, held: Window, wanted: Window, fill: float) -> Tensor:
        """From windows that move to the whole map, or back: each part has a place of its own."""
        first = self._at[axis] * (wanted.stride - held.stride) + wanted.start - held.start
        taken = first[:, None] + torch.arange(wanted.size, device=part.device)
        shape = (len(part), 1, -1, 1) if axis == 0 else (len(part), 1, 1, -1)
        index = taken.clamp(0, held.size - 1).view(shape)
        known = ((taken >= 0) & (taken < held.size)).view(shape)
        sizes = list(part.shape)
        sizes[axis + 2] = wanted.size
        moved = part.gather(axis + 2, index.expand(sizes))
        return moved.contiguous(memory_format=torch.channels_last).masked_fill_(~known, fill)


@dataclass(frozen=True)
class WindowAscent:
    """What the way up on windows leaves behind.

    Attributes:
        activations: of each seed, (n,).
        switches: max pool → index of each maximum in the flattened window that the pool reads,
            (n, C, h, w).
    """

    activations: Tensor
    switches: Mapping[str, Tensor]


def ascend_windows(batch: WindowBatch, layer: Layer, images: Tensor) -> WindowAscent:
    """Run the net on what seeds read of normalised images (N, 3, H, W).

    Args:
        batch: the seeds and their windows.
        layer: theirs; nothing below it looks at whole maps.
        images: that the seeds are of.
    """
    ascent = _WindowAscent(batch)
    with torch.inference_mode():
        maps = ascent.run(layer, images)
    seeds = batch.seeds
    index = torch.arange(len(seeds), device=maps.device)
    return WindowAscent(maps[index, seeds.feature_map, 0, 0], ascent.switches)


class _WindowAscent:
    def __init__(self, batch: WindowBatch) -> None:
        self.batch, self.graph = batch, batch.graph
        self.values: dict[str, Tensor] = {}
        self.switches: dict[str, Tensor] = {}
        self._nodes = {node.name: node for node in self.graph.trunk.graph.nodes}
        self._interpreter = fx.Interpreter(self.graph.trunk)

    def run(self, layer: Layer, images: Tensor) -> Tensor:
        """The layer's maps at the seeds, (n, C, 1, 1)."""
        steps = [step for step in self.graph.steps.values() if step.name in self.batch.levels]
        entrance, *others = steps
        last = {source: step.name for step in others for source in step.inputs}
        self.values[entrance.name] = self._cut_out(images, entrance)
        for step in others:
            self.values[step.name] = self._value(step)
            for source in step.inputs:
                if last[source] == step.name:
                    del self.values[source]
        return self.values[layer.step]

    def _cut_out(self, images: Tensor, entrance: Step) -> Tensor:
        """The windows of the images, zero outside, channels last."""
        batch, windows = self.batch, self.batch.levels[entrance.name]
        size = (images.shape[2], images.shape[3])
        pixels, image = images.permute(0, 2, 3, 1), batch.seeds.image
        y, x = batch.places(windows)
        if y.shape[1] * x.shape[1] > _LARGE:
            cut = _copied(pixels, image.tolist(), y[:, 0].tolist(), x[:, 0].tolist(), windows)
        else:
            y, x = y.clamp(0, size[0] - 1), x.clamp(0, size[1] - 1)
            rows = image[:, None] * size[0] + y
            place = (rows[:, :, None] * size[1] + x[:, None]).flatten()
            cut = pixels.reshape(-1, pixels.shape[3]).index_select(0, place)
            cut = cut.view(len(y), y.shape[1], x.shape[1], -1)
        cut = cut.permute(0, 3, 1, 2)
        batch.blank(cut, windows, size)
        return cut

    def _value(self, step: Step) -> Tensor:
        match step.op:
            case Conv():
                return filter_up(self._region(step, 0.0), step.op)
            case MaxPool(kernel=k):
                region = self._region(step, -torch.inf)
                values, self.switches[step.name] = F.max_pool2d(
                    region, k.size, k.stride, 0, k.dilation, return_indices=True
                )
                return values
            case AvgPool(kernel=k):
                total = F.avg_pool2d(self._region(step, 0.0), k.size, k.stride, divisor_override=1)
                return total * shares(self.batch, step, total)
            case _:
                return self._pointwise(step)

    def _region(self, step: Step, outside: float) -> Tensor:
        """What a kernel reads to make a window."""
        (source,) = step.inputs
        held, wanted = self.batch.levels[source], self.batch.read(step, source)
        values = self.values[source]
        # everyone who minds what is outside writes it anew
        self.batch.blank(values, held, self.graph.steps[source].shape[1:], outside)
        return self.batch.fit(values, held, wanted, outside)

    def _pointwise(self, step: Step) -> Tensor:
        wanted, node = self.batch.levels[step.name], self._nodes[step.name]
        regions = {
            source: self.batch.fit(self.values[source], self.batch.levels[source], wanted)
            for source in step.inputs
        }
        args, kwargs = map_arg((node.args, node.kwargs), lambda source: regions[source.name])
        made: Tensor = getattr(self._interpreter, node.op)(node.target, args, kwargs)
        return made


def _copied(
    pixels: Tensor, image: list[int], top: list[int], left: list[int], windows: Windows
) -> Tensor:
    """Windows (n, h, w, C) of images (N, H, W, C); what lies outside is left undefined."""
    _, height, width, channels = pixels.shape
    h, w = windows[0].size, windows[1].size
    made = pixels.new_empty(len(image), h, w, channels)
    for one, number, y, x in zip(made.unbind(), image, top, left, strict=True):
        rows = slice(max(0, -y), max(0, -y, min(h, height - y)))
        columns = slice(max(0, -x), max(0, -x, min(w, width - x)))
        from_rows = slice(rows.start + y, rows.stop + y)
        one[rows, columns] = pixels[number, from_rows, columns.start + x : columns.stop + x]
    return made


def shares(batch: WindowBatch, step: Step, like: Tensor) -> Tensor:
    """(n, 1, h, w): one over what an average divides each sum by; it differs at the border."""
    pool = step.op
    assert isinstance(pool, AvgPool)
    k, (_, height, width) = pool.kernel, step.shape
    y, x = batch.places(batch.levels[step.name])
    ones = like.new_ones(1, 1, *batch.graph.steps[step.inputs[0]].shape[1:])
    options = (k.size, k.stride, k.padding, pool.ceil_mode)
    total = F.avg_pool2d(ones, *options, divisor_override=1)
    mean = F.avg_pool2d(ones, *options, pool.count_include_pad, pool.divisor)
    share = (mean / total)[0, 0]
    return share[y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None]][:, None]
