"""A net as a graph of steps: traced once, cut off behind the last layer asked for.

Receptive fields and the deconvnet follow from the steps alone, through branches and
concatenations too.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import fx, nn
from torch.fx.node import map_arg

from pipeline.core.graph.classify import classify
from pipeline.core.graph.linear import Shapes, between
from pipeline.core.graph.spelling import Spelling, called
from pipeline.core.graph.steps import Opaque, Pair, Step
from pipeline.core.graph.symbolic import symbolic
from pipeline.core.graph.taps import find_taps


@dataclass(frozen=True)
class Layer:
    """A layer: a convolution with the normalisation and rectification that follow it.

    Attributes:
        name: as `taps.find_taps` has it.
        step: the step whose output is the layer's feature maps.
        maps: number of feature maps.
        size: (H, W) of each of them.
    """

    name: str
    step: str
    maps: int
    size: Pair


@dataclass(frozen=True)
class Graph:
    """A traced net, cut off behind the last layer asked for.

    Attributes:
        trunk: the net's forward pass; called with (N, C, H, W) it returns one tensor per layer,
            in the order of `layers`, and runs nothing that they do not need.
        steps: every step of the trunk by name, in the order of the forward pass.
        layers: the layers, in the order of the forward pass.
        opaque: layers without a way down to the pixels, and the operation that stops it.
        left_out: convolutions that are no layers, and why.
    """

    trunk: fx.GraphModule
    steps: dict[str, Step]
    layers: tuple[Layer, ...]
    opaque: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def layer(self, name: str) -> Layer:
        """The layer called `name`.

        Raises:
            KeyError: the net has no such layer.
        """
        return {layer.name: layer for layer in self.layers}[name]

    def only(self, names: Iterable[str]) -> "Graph":
        """The same net with these layers alone, in the order of the forward pass."""
        wanted = set(names)
        layers = tuple(layer for layer in self.layers if layer.name in wanted)
        trunk = _cut(self.trunk, [layer.step for layer in layers])
        needed = {node.name for node in trunk.graph.nodes}
        steps = {name: step for name, step in self.steps.items() if name in needed}
        return Graph(trunk, steps, layers, self.opaque, self.left_out)


def trace(
    net: nn.Module,
    input_size: Pair,
    short_names: Callable[[str], str] = lambda path: path,
    channels: int = 3,
) -> Graph:
    """The graph of a net in inference mode with all its layers.

    Args:
        net: takes (N, C, H, W); it is put into inference mode and shares its parameters with
            the result.
        input_size: (H, W) of its input.
        short_names: the name of a layer from the path of its convolution.
        channels: C of its input.

    Raises:
        ValueError: the net cannot be traced.
    """
    traced = symbolic(net, input_size, channels)
    taps = find_taps(traced.module, traced.returned, short_names)
    trunk = _cut(traced.module, [node.name for node in taps.values()])
    steps = steps_of(trunk, traced.shapes)
    obstacles = _obstacles(steps)
    layers = tuple(
        Layer(name, node.name, steps[node.name].shape[0], steps[node.name].shape[1:])
        for name, node in taps.items()
        if node.name in steps
    )
    opaque = {name: what for name, node in taps.items() if (what := obstacles.get(node.name))}
    graph = Graph(trunk, steps, layers, opaque, _left_out(traced.module, taps, steps))
    return graph.only(layer.name for layer in layers)


def _left_out(
    traced: fx.GraphModule, taps: Mapping[str, fx.Node], steps: Mapping[str, Step]
) -> dict[str, str]:
    """Convolutions that are no layers, and why."""
    called_ones = [node.name for node in traced.graph.nodes if called(node) == "conv2d"]
    off_maps = [name for name, node in taps.items() if node.name not in steps]
    return {
        **dict.fromkeys(called_ones, "it is called as a function, with weights of its own"),
        **dict.fromkeys(off_maps, "it does not return maps, (N, C, H, W)"),
    }


def steps_of(traced: fx.GraphModule, shapes: dict[str, tuple[int, ...]]) -> dict[str, Step]:
    """The steps of a traced net that return maps, by name, in the order of the forward pass."""
    spelling = Spelling.of(traced)
    maps: Shapes = {
        name: (shape[1], shape[2], shape[3])
        for name, shape in shapes.items()
        if len(shape) == 4 and shape[0] == 1
    }
    return {
        node.name: Step(
            node.name,
            classify(node, spelling, maps),
            tuple(between(node, spelling, maps)[0]),
            maps[node.name],
        )
        for node in traced.graph.nodes
        if node.op != "output" and node.name in maps and node.name not in spelling.constants
    }


def part_of(
    traced: fx.GraphModule, outputs: Any, inputs: Sequence[str] = (), without: Collection[str] = ()
) -> fx.GraphModule:
    """The part of a net that returns the values of some of its nodes.

    Args:
        traced: the net.
        outputs: nodes, in tuples as they are to be returned.
        inputs: nodes whose values the part is given, instead of the net's input.
        without: nodes that it does not need, these among them.
    """
    graph = fx.Graph()
    copies = {name: graph.placeholder(name) for name in inputs}
    for node in traced.graph.nodes:
        if node.op != "output" and node.name not in without:
            copies[node.name] = graph.node_copy(node, lambda source: copies[source.name])
    graph.output(map_arg(outputs, lambda source: copies[source.name]))
    part = fx.GraphModule(traced, graph)
    part.graph.eliminate_dead_code()
    part.recompile()
    return part


def spell_relu(node: fx.Node, spelling: Spelling, taps: Collection[str] = ()) -> None:
    """Spell a ReLU as a function that overwrites its input only if nobody else wants that."""
    source = node.all_input_nodes[0]
    safe = spelling.is_fresh(source) and len(source.users) == 1 and source.name not in taps
    node.op, node.target = "call_function", F.relu
    node.args, node.kwargs = (source,), {"inplace": safe}


# --- the trunk --------------------------------------------------------------------------------


def _cut(traced: fx.GraphModule, taps: list[str]) -> fx.GraphModule:
    """The part of the net that these nodes need, returning them as a tuple."""
    nodes = {node.name: node for node in traced.graph.nodes}
    trunk = part_of(traced, tuple(nodes[name] for name in taps))
    spelling = Spelling.of(trunk)
    for node in trunk.graph.nodes:
        if spelling.is_relu(node):
            spell_relu(node, spelling, taps)
    trunk.recompile()
    trunk.delete_all_unused_submodules()
    return trunk


def _obstacles(steps: dict[str, Step]) -> dict[str, str | None]:
    """For each step, the first operation below it that the deconvnet cannot pass, or None."""
    found: dict[str, str | None] = {}
    for step in steps.values():
        own = step.op.what if isinstance(step.op, Opaque) else None
        lower = (found.get(name, "an operation off the maps") for name in step.sources)
        found[step.name] = own or next(filter(None, lower), None)
    return found
