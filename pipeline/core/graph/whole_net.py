"""A net traced to its very end, the classifier included."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from pipeline.core.graph.steps import Pair, Step, adds, is_relu
from pipeline.core.graph.trace import (
    is_fresh,
    part_of,
    spell_relu,
    steps_of,
    symbolic,
    tensor_shapes,
)


@dataclass(frozen=True)
class WholeNet:
    """A net traced to its very end, the classifier included.

    Attributes:
        traced: its forward pass, (N, 3, H, W) to (N, classes); nothing in it overwrites what
            another operation reads.
        steps: the operations that return maps, by name, in the order of the forward pass.
        linear: multiply-adds of every linear layer, by name.
    """

    traced: fx.GraphModule
    steps: dict[str, Step]
    linear: dict[str, int]


def trace_whole(net: nn.Module, input_size: Pair) -> WholeNet:
    """Trace a net to its end; the names of its steps are those of `graph.trace`.

    Args:
        net: takes (N, 3, H, W); it is put into inference mode and shares its parameters with
            the result.
        input_size: (H, W) of its input.

    Raises:
        ValueError: the net cannot be traced.
    """
    traced = symbolic(net)
    modules = dict(net.named_modules())
    shapes = tensor_shapes(traced, input_size)
    linear = {}
    for node in traced.graph.nodes:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Linear):
            linear[node.name] = math.prod(shapes[node.name]) * module.in_features
        if is_relu(node, modules):
            spell_relu(node, modules)
        elif adds(node) and node.name in shapes:
            _spell_sum(node, modules, shapes)
    traced.recompile()
    return WholeNet(traced, steps_of(traced, modules, shapes), linear)


def _spell_sum(
    node: fx.Node, modules: dict[str, nn.Module], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Spell a sum so that it overwrites its first term only if nothing else reads that."""
    first = node.args[0] if node.args else None
    safe = (
        isinstance(first, fx.Node)
        and is_fresh(first, modules)
        and len(first.users) == 1
        and shapes[first.name] == shapes[node.name]
        and not node.kwargs
    )
    node.target = operator.iadd if safe else torch.add


def tail(net: WholeNet, windowed: Sequence[str], frontier: Sequence[str], tap: str) -> Any:
    """What is left of the net: from the frontier's maps to (output, tapped maps or None)."""
    nodes = {node.name: node for node in net.traced.graph.nodes}
    (output,) = (node.args[0] for node in nodes.values() if node.op == "output")
    outputs = (output, None if tap in windowed else nodes[tap])
    return part_of(net.traced, outputs, frontier, windowed)
