"""Of every layer only what mining needs: each map's largest value and where it stands."""

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from pipeline.core.graph.spelling import Spelling
from pipeline.core.graph.trace import Graph
from pipeline.core.heaps.topk import Bounds, strongest

Find = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps (N, C, H, W) to the largest value of each and its flattened place, (N, C)."""


_NONE = (-math.inf, math.inf)


@dataclass(frozen=True)
class Peaks:
    """A net's forward pass that drops each layer's maps as soon as their peaks are known.

    Attributes:
        trunk: (N, 3, H, W) to a tuple of (values, places) per layer, each (N, C).
        bounds: of the maps of all layers. Where a rectification that only cuts values off ends the
            layer, the value is the one before it, and the activation what lies in its bounds.
    """

    trunk: nn.Module
    bounds: Bounds

    @classmethod
    def of(cls, graph: Graph, find: Find = strongest) -> "Peaks":
        """The peaks of a net, found in each layer's maps by `find`; it shares its parameters."""
        steps = [layer.step for layer in graph.layers]
        nodes = {node.name: node for node in graph.trunk.graph.nodes}
        spelling = Spelling.of(graph.trunk)
        cut = [step for step in steps if spelling.cuts_off(nodes[step])]
        ends = [spelling.bounds(nodes[step]) or _NONE for step in steps]
        squashed = [spelling.is_hardsigmoid(nodes[step]) for step in steps]
        maps = torch.tensor([layer.maps for layer in graph.layers])
        low, high, is_squashed = (
            torch.tensor(of_layers).repeat_interleave(maps)
            for of_layers in (*zip(*ends, strict=True), squashed)
        )
        return cls(_cut_short(graph.trunk, steps, cut, find), Bounds(low, high, is_squashed))

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of normalised images (N, 3, H, W): values (N, M), float32, and flat places (N, M)."""
        values, places = zip(*self.of_layers(images), strict=True)
        return torch.cat(values, 1).float(), torch.cat(places, 1)

    def of_layers(self, images: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        """Of normalised images, for each layer: values and flat places, (N, C) each."""
        weight = next(self.trunk.parameters(), images)
        found: Sequence[tuple[Tensor, Tensor]] = self.trunk(images.to(weight.dtype))
        return found


def _cut_short(
    trunk: fx.GraphModule, steps: list[str], bounded: Container[str], find: Find
) -> fx.GraphModule:
    """The trunk with `find` in the place of each layer's maps, before what only cuts them off."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    found: dict[str, fx.Node] = {}
    for node in trunk.graph.nodes:
        if node.op == "output":
            continue
        if node.name in bounded:  # which may overwrite what it reads
            found[node.name] = graph.call_function(find, (copies[node.all_input_nodes[0]],))
        copies[node] = graph.node_copy(node, lambda source: copies[source])
        if node.name in steps and node.name not in bounded:
            found[node.name] = graph.call_function(find, (copies[node],))
    graph.output(tuple(found[step] for step in steps))
    short = fx.GraphModule(trunk, graph)
    short.graph.eliminate_dead_code()  # the last rectification
    short.recompile()
    return short
