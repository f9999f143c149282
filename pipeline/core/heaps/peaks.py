"""Of every layer only what mining needs: each map's largest value and where it stands."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from pipeline.core.graph.trace import Graph
from pipeline.core.heaps.topk import strongest

Find = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps (N, C, H, W) to the largest value of each and its flattened place, (N, C)."""


@dataclass(frozen=True)
class Peaks:
    """A net's forward pass that drops each layer's maps as soon as their peaks are known.

    Attributes:
        trunk: (N, 3, H, W) to a tuple of (values, places) per layer, each (N, C).
        rectified: (M,) bool over the maps of all layers: where a rectification ends the layer,
            the value is the one before it. It is the activation where it is above zero.
    """

    trunk: fx.GraphModule
    rectified: Tensor

    @classmethod
    def of(cls, graph: Graph, find: Find = strongest) -> "Peaks":
        """The peaks of a net, found in each layer's maps by `find`; it shares its parameters."""
        steps = [layer.step for layer in graph.layers]
        nodes = {node.name: node for node in graph.trunk.graph.nodes}
        rectified = [_is_relu(nodes[step]) for step in steps]
        maps = torch.tensor([layer.maps for layer in graph.layers])
        return cls(
            _cut_short(graph.trunk, steps, find), torch.tensor(rectified).repeat_interleave(maps)
        )

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of normalised images (N, 3, H, W): values (N, M), float32, and flat places (N, M)."""
        weight = next(self.trunk.parameters(), images)
        values, places = zip(*self.trunk(images.to(weight.dtype)), strict=True)
        return torch.cat(values, 1).float(), torch.cat(places, 1)


def _is_relu(node: fx.Node) -> bool:
    return node.target is F.relu  # however the net spells it, the trunk spells it so


def _cut_short(trunk: fx.GraphModule, steps: list[str], find: Find) -> fx.GraphModule:
    """The trunk with `find` in the place of each layer's maps."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    found: dict[str, fx.Node] = {}
    for node in trunk.graph.nodes:
        if node.op == "output":
            continue
        if node.name in steps and _is_relu(node):  # which may overwrite what it reads
            found[node.name] = graph.call_function(find, (copies[node.args[0]],))
        copies[node] = graph.node_copy(node, lambda source: copies[source])
        if node.name in steps and not _is_relu(node):
            found[node.name] = graph.call_function(find, (copies[node],))
    graph.output(tuple(found[step] for step in steps))
    short = fx.GraphModule(trunk, graph)
    short.graph.eliminate_dead_code()  # the last rectification
    short.recompile()
    return short
