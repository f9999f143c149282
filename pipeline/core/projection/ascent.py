"""The way up: the net run on whole images, or on what single positions read of them.

Both leave behind what the way down needs: where each maximum came from, and what gates and
normalisation scaled by.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from pipeline.core.graph.steps import AdaptiveMax, Gate, MaxPool, Normalise, Pair, Product
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.projection.batch import Seeds, WindowBatch
from pipeline.core.projection.filtering import filter_up
from pipeline.core.projection.scales import scales
from pipeline.core.windows.forward import WindowPass
from pipeline.core.windows.placed import Placed

_LARGE = 2000
"""Pixels: windows above this are copied one by one, smaller ones picked pixel by pixel."""


@dataclass(frozen=True)
class Ascent:
    """What one forward pass leaves behind for the way down.

    Attributes:
        activations: layer → its feature maps, (N, C, H, W).
        switches: max pool → index of each maximum in the flattened map below, (N, C, H, W).
        scales: step → for each of its sources, what `scales.scales` returns.
    """

    activations: dict[str, Tensor]
    switches: dict[str, Tensor]
    scales: dict[str, tuple[Tensor, ...]]

    def at(self, layer: str, seeds: Seeds) -> Tensor:
        """The activations at these positions, (n,)."""
        return self.activations[layer][seeds.image, seeds.feature_map, seeds.y, seeds.x]


def ascend(graph: Graph, images: Tensor) -> Ascent:
    """Run the net on normalised images (N, 3, H, W), recording switches and scales."""
    recorder = _Recorder(graph)
    with torch.inference_mode():
        outputs = recorder.run(images)
    names = (layer.name for layer in graph.layers)
    return Ascent(dict(zip(names, outputs, strict=True)), recorder.switches, recorder.scales)


class _Recorder(fx.Interpreter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.trunk)
        self.steps = graph.steps
        self.switches: dict[str, Tensor] = {}
        self.scales: dict[str, tuple[Tensor, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        step = self.steps.get(n.name)
        if step is None:
            return super().run_node(n)
        match step.op:
            case MaxPool(kernel=k, ceil_mode=ceil_mode):
                return self._pool(
                    n, F.max_pool2d, k.size, k.stride, k.padding, k.dilation, ceil_mode
                )
            case AdaptiveMax(size=size):
                return self._pool(n, F.adaptive_max_pool2d, size)
            case Gate() | Product() | Normalise():
                module = self.submodules.get(str(n.target)) if n.op == "call_module" else None
                args, kwargs = self.fetch_args_kwargs_from_env(n)
                self.scales[n.name] = scales(step, n, module, args, kwargs)
        return super().run_node(n)

    def _pool(self, n: fx.Node, pool: Callable[..., Any], *options: Any) -> Tensor:
        values: Tensor
        values, self.switches[n.name] = pool(
            self.env[n.all_input_nodes[0]], *options, return_indices=True
        )
        return values


# --- windows ----------------------------------------------------------------------------------


def ascend_windows(
    batch: WindowBatch, layer: Layer, images: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the net on what seeds read of normalised images (N, 3, H, W).

    Args:
        batch: the seeds and their windows.
        layer: theirs; nothing below it looks at whole maps.
        images: that the seeds are of.

    Returns:
        The activation of each seed, (n,), and max pool → index of each maximum in the flattened
        window that the pool reads, (n, C, h, w).
    """
    graph, seeds = batch.graph, batch.seeds
    entrance, *others = (step for step in graph.steps.values() if step.name in batch.levels)
    last = {source: step.name for step in others for source in step.sources}
    run = WindowPass(graph.trunk, graph.steps, batch.region, filter_up)
    with torch.inference_mode():
        pixels = batch.placed(batch.levels[entrance.name])
        run.put(entrance.name, _cut_out(batch, pixels, images), pixels)
        for step in others:
            run.make(step, batch.placed(batch.levels[step.name]))
            for source in step.sources:
                if last[source] == step.name:
                    del run.values[source]
    maps = run.values[layer.step]  # (n, C, 1, 1)
    index = torch.arange(len(seeds), device=maps.device)
    return maps[index, seeds.feature_map, 0, 0], run.switches


def _cut_out(batch: WindowBatch, placed: Placed, images: Tensor) -> Tensor:
    """The windows of the images, zero outside, channels last."""
    pixels, image = images.permute(0, 2, 3, 1), batch.seeds.image
    (height, width), (y, x) = images.shape[2:], placed.places
    if y.shape[1] * x.shape[1] > _LARGE:
        cut = _copied(pixels, image.tolist(), y[:, 0].tolist(), x[:, 0].tolist(), placed.size)
    else:
        y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
        rows = image[:, None] * height + y
        place = (rows[:, :, None] * width + x[:, None]).flatten()
        cut = pixels.reshape(-1, pixels.shape[3]).index_select(0, place)
        cut = cut.view(len(y), y.shape[1], x.shape[1], -1)
    cut = cut.permute(0, 3, 1, 2)
    batch.blank(cut, placed.windows, (height, width))
    return cut


def _copied(
    pixels: Tensor, image: list[int], top: list[int], left: list[int], size: Pair
) -> Tensor:
    """Windows (n, h, w, C) of images (N, H, W, C); what lies outside is left undefined."""
    _, height, width, channels = pixels.shape
    h, w = size
    made = pixels.new_empty(len(image), h, w, channels)
    for window, number, y, x in zip(made.unbind(), image, top, left, strict=True):
        rows = slice(max(0, -y), max(0, -y, min(h, height - y)))
        columns = slice(max(0, -x), max(0, -x, min(w, width - x)))
        from_rows = slice(rows.start + y, rows.stop + y)
        window[rows, columns] = pixels[number, from_rows, columns.start + x : columns.stop + x]
    return made
