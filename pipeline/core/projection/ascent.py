"""The way up: the net run on whole images, or on what single positions read of them.

Both leave behind what the way down needs: where each maximum came from, and the scales of gates.
On windows, what lies outside a map of the net is what the operation that reads it pads with: zero
for a convolution, nothing for a pool.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.fx.node import map_arg

from pipeline.core.graph.receptive_field import Windows
from pipeline.core.graph.steps import AvgPool, Conv, Gate, MaxPool, Step
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.projection.filtering import filter_up
from pipeline.core.projection.windows import Seeds, WindowBatch, shares

_LARGE = 2000
"""Pixels: windows above this are copied one by one, smaller ones picked pixel by pixel."""


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
