"""That every convolution of a net is in a layer, and what layers are called."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.core.graph.symbolic import symbolic
from pipeline.core.graph.taps import find_taps
from pipeline.core.nets import known


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 3, 3, padding=1)


class Block(nn.Module):
    """Two residual sums, of which the block returns the last."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = conv(), conv(), conv(), conv()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.b(F.relu(self.a(x))) + x)
        return F.relu(self.d(F.relu(self.c(y))) + y)


class Bare(nn.Module):
    """A residual block whose ReLU its parent applies."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(), conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x))) + x


class Parent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Bare(), Bare()])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = F.relu(block(x))
        return x


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.head(x)))


class Root(nn.Module):
    """A residual sum that no block returns."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(), conv()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        return F.relu(self.b(y) + y)


def layers(net: nn.Module, side: int = 16) -> list[str]:
    traced = symbolic(net, (side, side))
    return list(find_taps(traced.module, traced.returned, lambda path: path))


def test_two_sums_in_one_block() -> None:
    assert layers(nn.Sequential(Block())) == ["0.a", "0.b", "0.c", "0"]


def test_a_sum_that_the_parent_rectifies_goes_by_its_block() -> None:
    assert layers(nn.Sequential(Parent())) == [
        "0.blocks.0.a", "0.blocks.0", "0.blocks.1.a", "0.blocks.1",
    ]  # fmt: skip


def test_what_is_applied_twice_is_two_layers() -> None:
    assert layers(Twice()) == ["head", "head@2"]
    assert layers(nn.Sequential(block := Bare(), nn.ReLU(), block)) == ["0.a", "0", "0.a@2", "0.b"]


def test_a_sum_in_the_root() -> None:
    assert layers(Root()) == ["a", "b"]


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "googlenet", "efficientnet_b0"])
def test_no_convolution_is_lost(name: str) -> None:
    with torch.device("meta"):
        net = known.build(name)
    traced = symbolic(net, (224, 224))
    taps = find_taps(traced.module, traced.returned, lambda path: path)
    convolutions = {
        node
        for node in traced.module.graph.nodes
        if node.op == "call_module" and isinstance(net.get_submodule(node.target), nn.Conv2d)
    }
    assert len(convolutions) > 50
    assert convolutions <= {node for tap in taps.values() for node in _up_to(tap, convolutions)}


def _up_to(node: torch.fx.Node, convolutions: set[torch.fx.Node]) -> set[torch.fx.Node]:
    """What a node is made of, from the nearest convolutions on."""
    found, waiting = {node}, [node]
    while waiting:
        node = waiting.pop()
        if node not in convolutions:
            waiting += set(node.all_input_nodes) - found
            found |= set(node.all_input_nodes)
    return found
