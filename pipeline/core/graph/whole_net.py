"""A net traced to its very end, the classifier included."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from pipeline.core.graph.spelling import Spelling, called
from pipeline.core.graph.steps import Pair, Step
from pipeline.core.graph.symbolic import symbolic
from pipeline.core.graph.trace import part_of, spell_relu, steps_of


@dataclass(frozen=True)
class WholeNet:
    """A net traced to its very end, the classifier included.

    Attributes:
        traced: its forward pass, (N, C, H, W) to (N, classes); nothing in it overwrites what
            another operation reads.
        steps: the operations that return maps, by name, in the order of the forward pass.
        linear: multiply-adds of every linear layer, by name.
    """

    traced: fx.GraphModule
    steps: dict[str, Step]
    linear: dict[str, int]


def trace_whole(net: nn.Module, input_size: Pair, channels: int = 3) -> WholeNet:
    """Trace a net to its end; the names of its steps are those of `graph.trace`.

    Args:
        net: takes (N, C, H, W); it is put into inference mode and shares its parameters with
            the result.
        input_size: (H, W) of its input.
        channels: C of its input.

    Raises:
        ValueError: the net cannot be traced.
    """
    found = symbolic(net, input_size, channels)
    traced, shapes = found.module, found.shapes
    spelling = Spelling.of(traced)
    linear = {}
    for node in traced.graph.nodes:
        module = spelling.modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Linear):
            linear[node.name] = math.prod(shapes[node.name]) * module.in_features
        if spelling.is_relu(node):
            spell_relu(node, spelling)
        elif called(node) == "add" and spelling.adds(node) and node.name in shapes:
            _spell_sum(node, spelling, shapes)
    traced.recompile()
    return WholeNet(traced, steps_of(traced, shapes), linear)


def _spell_sum(node: fx.Node, spelling: Spelling, shapes: dict[str, tuple[int, ...]]) -> None:
    """Spell a sum so that it overwrites its first term only if nothing else reads that."""
    first = node.args[0] if node.args else None
    safe = (
        isinstance(first, fx.Node)
        and spelling.is_fresh(first)
        and len(first.users) == 1
        and shapes[first.name] == shapes[node.name]
        and not node.kwargs
    )
    node.op, node.target = "call_function", operator.iadd if safe else torch.add


def tail(
    net: WholeNet, windowed: Sequence[str], frontier: Sequence[str], taps: Sequence[str]
) -> Any:
    """What is left of the net: from the frontier's maps to its output, and to each tap or None."""
    nodes = {node.name: node for node in net.traced.graph.nodes}
    (output,) = (node.args[0] for node in nodes.values() if node.op == "output")
    tapped = tuple(None if tap in windowed else nodes[tap] for tap in taps)
    part = part_of(net.traced, (output, tapped), frontier, windowed)
    for node in part.graph.nodes:
        if node.op == "call_function" and node.args and getattr(node.args[0], "name", "") in taps:
            _spare(node)
    part.recompile()
    return part


def _spare(node: fx.Node) -> None:
    """Spell an operation so that it does not overwrite what it reads."""
    if node.target is operator.iadd:
        node.target = torch.add
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
