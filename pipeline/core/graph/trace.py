"""A net as a graph of steps: traced once, cut off behind the last layer asked for.

Receptive fields and the deconvnet follow from the steps alone, through branches and
concatenations too.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pipeline.core.graph.steps import (
    Gate,
    Opaque,
    Pair,
    Shapes,
    Step,
    adds,
    classify,
    is_conv,
    is_relu,
    normalises,
    rectifies,
)


@dataclass(frozen=True)
class Layer:
    """A layer: a convolution with the normalisation and rectification that follow it.

    Attributes:
        name: the net's own short name, else the path of the convolution's module; where no
            rectification follows directly, the path of the block whose rectified output it is.
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
        trunk: the net's forward pass; called with (N, 3, H, W) it returns one tensor per layer,
            in the order of `layers`, and runs nothing that they do not need.
        steps: every step of the trunk by name, in the order of the forward pass.
        layers: the layers, in the order of the forward pass.
        opaque: layers that the deconvnet cannot reach, and the operation that stops it.
    """

    trunk: fx.GraphModule
    steps: dict[str, Step]
    layers: tuple[Layer, ...]
    opaque: dict[str, str] = field(default_factory=dict)

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
        kept = {node.name for node in trunk.graph.nodes}
        steps = {name: step for name, step in self.steps.items() if name in kept}
        return Graph(trunk, steps, layers, self.opaque)


def trace(
    net: nn.Module, input_size: Pair, short_names: Callable[[str], str] = lambda path: path
) -> Graph:
    """The graph of a net in inference mode with all the layers that the deconvnet can reach.

    Args:
        net: takes (N, 3, H, W); it is put into inference mode and shares its parameters with
            the result.
        input_size: (H, W) of its input.
        short_names: the name of a layer from the path of its convolution.

    Raises:
        ValueError: the net cannot be traced.
    """
    traced = symbolic(net)
    modules = dict(net.named_modules())
    taps = {_short(name, short_names): node for name, node in _taps(traced, modules).items()}
    trunk = _cut(traced, [node.name for node in taps.values()])
    shapes = _shapes(trunk, input_size)
    steps = steps_of(trunk, modules, shapes)
    obstacles = _obstacles(steps)
    layers = tuple(
        Layer(name, node.name, shapes[node.name][0], shapes[node.name][1:])
        for name, node in taps.items()
        if node.name in steps and obstacles[node.name] is None
    )
    opaque = {name: what for name, node in taps.items() if (what := obstacles.get(node.name))}
    graph = Graph(trunk, steps, layers, opaque)
    return graph.only(layer.name for layer in layers)


def symbolic(net: nn.Module) -> fx.GraphModule:
    """A net as torch.fx sees it, put into inference mode; it shares its parameters.

    Raises:
        ValueError: the net cannot be traced.
    """
    net.eval()
    try:
        return fx.GraphModule(net, fx.Tracer().trace(net))
    except Exception as error:  # a tracer runs the net's own code, which may raise anything
        raise ValueError(f"the net cannot be traced: {error}") from error


def steps_of(
    traced: fx.GraphModule, modules: dict[str, nn.Module], shapes: Shapes
) -> dict[str, Step]:
    """The steps of a traced net that return maps, by name, in the order of the forward pass."""
    return {
        node.name: Step(
            node.name,
            classify(node, modules, shapes),
            tuple(source.name for source in node.all_input_nodes),
            shapes[node.name],
        )
        for node in traced.graph.nodes
        if node.op != "output" and node.name in shapes
    }


def _short(path: str, short_names: Callable[[str], str]) -> str:
    return short_names(path) or path


# --- which nodes are layers -------------------------------------------------------------------


def _taps(traced: fx.GraphModule, modules: dict[str, nn.Module]) -> dict[str, fx.Node]:
    """Layer name → the node whose output is its feature maps."""
    taps: dict[str, fx.Node] = {}
    for node in traced.graph.nodes:
        if is_conv(node, modules):
            name, tap = _tap(node, modules)
            taps.setdefault(name, tap)  # both branches of a residual block end in one output
    return taps


def _tap(conv: fx.Node, modules: dict[str, nn.Module]) -> tuple[str, fx.Node]:
    node = conv
    while (user := _only_user(node)) is not None and normalises(user, modules):
        node = user
    user = _only_user(node)
    if user is not None and rectifies(user, modules):
        return str(conv.target), user
    after = user
    while after is not None and adds(after):
        after = _only_user(after)
    if after is not user and after is not None and rectifies(after, modules):
        return _block(after), after
    return str(conv.target), node


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _block(node: fx.Node) -> str:
    """The path of the module in whose forward pass the node is called."""
    stack = [path for path, _ in node.meta["nn_module_stack"].values()]
    return str(stack[-2] if node.op == "call_module" else stack[-1]) if len(stack) > 1 else "net"


# --- the trunk --------------------------------------------------------------------------------


def _cut(traced: fx.GraphModule, taps: list[str]) -> fx.GraphModule:
    """The part of the net that these nodes need, returning them as a tuple."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in traced.graph.nodes:
        if node.op == "output":
            continue
        copies[node] = graph.node_copy(node, lambda source: copies[source])
    by_name = {node.name: copy for node, copy in copies.items()}
    graph.output(tuple(by_name[name] for name in taps))
    trunk = fx.GraphModule(traced, graph)
    trunk.graph.eliminate_dead_code()
    _rectify_in_place_where_safe(trunk.graph, dict(traced.named_modules()), set(taps))
    trunk.recompile()
    trunk.delete_all_unused_submodules()
    return trunk


def _rectify_in_place_where_safe(
    graph: fx.Graph, modules: dict[str, nn.Module], taps: set[str]
) -> None:
    """Spell every ReLU as a function that overwrites its input only if nothing else reads it."""
    for node in list(graph.nodes):
        if is_relu(node, modules):
            source = node.all_input_nodes[0]
            # what these return is theirs alone; others may return their input itself
            fresh = is_conv(source, modules) or normalises(source, modules) or adds(source)
            safe = fresh and len(source.users) == 1 and source.name not in taps
            node.op, node.target = "call_function", F.relu
            node.args, node.kwargs = (source,), {"inplace": safe}


def _shapes(trunk: fx.GraphModule, input_size: Pair) -> Shapes:
    """(C, H, W) of every node that returns maps, from one run on an empty image."""
    shapes: Shapes = {}

    class Watcher(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor) and value.dim() == 4:
                shapes[n.name] = (value.shape[1], value.shape[2], value.shape[3])
            return value

    weight = next(trunk.parameters(), torch.empty(0))
    with torch.no_grad():
        Watcher(trunk).run(torch.zeros(1, 3, *input_size, dtype=weight.dtype, device=weight.device))
    return shapes


def _obstacles(steps: dict[str, Step]) -> dict[str, str | None]:
    """For each step, the first operation below it that the deconvnet cannot pass, or None."""
    found: dict[str, str | None] = {}
    for step in steps.values():
        below = step.inputs
        if isinstance(step.op, Gate):
            below = (step.inputs[step.op.scaled],)
        own = step.op.what if isinstance(step.op, Opaque) else None
        found[step.name] = own or next(
            (what for name in below if (what := found.get(name, "an operation off the maps"))),
            None,
        )
    return found
