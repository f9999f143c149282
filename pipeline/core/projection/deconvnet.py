"""The deconvnet: one activation of a feature map, sent back to pixels.

Zeiler & Fergus, *Visualizing and Understanding Convolutional Networks* (2013), section 2.1: the
strongest position of a feature map is kept, the rest of the layer is set to zero, and the signal
goes down the net: unpool by the switches recorded on the way up, rectify, filter with the
transposed filters, without biases. The last filtering, to pixels, is not rectified.

A projection is zero outside the receptive field of its position, so on every level only the
window that can be reached is computed: a signal is a batch of windows of equal size, each at a
place of its own. Where windows reach over the border of a map, what would lie outside is zero.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from pipeline.core.graph.steps import AdaptiveMax, Step
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.projection.ascent import Ascent, ascend, ascend_windows
from pipeline.core.projection.batch import Seeds, WindowBatch
from pipeline.core.projection.clipping import Clipping, clipping_of
from pipeline.core.projection.descent import Descent, Unpooling

__all__ = ["Ascent", "Seeds", "Unpooling", "ascend", "project", "project_on_windows"]

_LARGEST_SIGNAL = 2**23
"""Elements of the largest signal that goes up or down at once: 32 MiB in float32; more is not
faster."""


def project(
    graph: Graph,
    layer: Layer,
    ascent: Ascent,
    seeds: Seeds,
    unpooling: Unpooling = "sum",
    strengths: Tensor | None = None,
) -> list[Tensor]:
    """Project positions of one layer back to the input, each seeded with its own activation.

    Args:
        graph: the net that `ascend` went up.
        layer: the layer of the positions.
        ascent: the forward pass of the images.
        seeds: n positions.
        unpooling: where one place is the maximum of several overlapping windows, add what they
            send down (the adjoint of pooling), or keep the largest.
        strengths: (n,) what is sent down in place of the activations.

    Returns:
        For each seed the projection of its receptive field clipped to the input (its
        `ReceptiveField.boxes`), (3, bottom - top, right - left); elsewhere it is zero.
    """
    projections: dict[int, Tensor] = {}
    sent = ascent.at(layer.name, seeds) if strengths is None else strengths
    with torch.inference_mode():
        for which, batch in _batches(graph, clipping_of(graph, layer), seeds):
            switches = partial(_switches, batch, ascent)
            descent = Descent(batch, unpooling, switches, ascent.scales)
            made = descent.run(layer, sent[which])
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
            descent = Descent(batch, unpooling, partial(_recorded, switches), {})
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
    if isinstance(step.op, AdaptiveMax):
        return ascent.switches[step.name][batch.seeds.image]
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
