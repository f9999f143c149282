"""Weights drawn anew, from the top down."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from pipeline.core.graph.steps import Conv
from pipeline.core.graph.trace import Graph, trace
from pipeline.core.nets import known
from pipeline.core.nets.redrawn import cascade, weights_of_layers

NETS = ["demo", "alexnet", "resnet18", "squeezenet1_1", "googlenet", "mobilenet_v3_small"]


def graph_of(name: str) -> Graph:
    prepared = known.preprocessing(name)
    return known.assemble(name, known.build(name, seed=1), prepared).graph


def weights(graph: Graph) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in graph.trunk.named_parameters()}


@pytest.mark.parametrize("name", NETS)
def test_every_weight_belongs_to_one_layer(name: str) -> None:
    graph = graph_of(name)
    of_layers = weights_of_layers(graph)
    names = [name for of_layer in of_layers.values() for name in of_layer]
    assert sorted(names) == sorted(dict(graph.trunk.named_parameters()))
    assert list(of_layers) == [layer.name for layer in graph.layers]
    for layer in graph.layers:  # each has its own convolution's filters at least
        assert any(tensor.dim() == 4 for tensor in of_layers[layer.name].values())


@pytest.mark.parametrize("name", ["demo", "resnet18"])
def test_the_net_below_stays_as_it_is(name: str) -> None:
    graph = graph_of(name)
    before, of_layers = weights(graph), weights_of_layers(graph)
    image = torch.randn(1, 3, *next(iter(graph.steps.values())).shape[1:])
    with torch.no_grad():
        own = dict(zip(of_layers, graph.trunk(image), strict=True))
    left = list(of_layers)
    for layer in cascade(graph, 0):
        assert layer.name == left.pop()
        now = weights(graph)
        for other, of_layer in of_layers.items():
            for weight, tensor in of_layer.items():
                is_drawn = other not in left and tensor.std(unbiased=False) > 0
                assert torch.equal(now[weight], before[weight]) == (not is_drawn)
        with torch.no_grad():
            made = dict(zip(of_layers, graph.trunk(image), strict=True))
        assert all(torch.equal(made[below], own[below]) for below in left)
        assert not torch.equal(made[layer.name], own[layer.name])
    assert left == []


def test_what_is_drawn_has_the_moments_of_what_was_there_and_follows_from_the_seed() -> None:
    """The way down takes the same filters: they are the module's that the steps hold."""
    first, second, other = (deepcopy(graph_of("alexnet")) for _ in range(3))
    before = weights(first)
    for graph, seed in ((first, 0), (second, 0), (other, 1)):
        list(cascade(graph, seed))
    for name, tensor in weights(first).items():
        assert torch.equal(tensor, weights(second)[name])
        assert not torch.equal(tensor, weights(other)[name])
        if tensor.numel() > 10_000:
            wanted = before[name]
            assert tensor.mean() == pytest.approx(float(wanted.mean()), abs=0.02 * wanted.std())
            assert tensor.std() == pytest.approx(float(wanted.std()), rel=0.02)
    convolutions = [step.op.module for step in first.steps.values() if isinstance(step.op, Conv)]
    for name, tensor in first.trunk.named_parameters():
        if tensor.dim() == 4:
            assert any(module.weight is tensor for module in convolutions), name


class Functional(nn.Module):
    """A convolution whose filters are no module's, and one used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.shared = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(nn.functional.conv2d(x, self.filters, padding=1))
        return torch.relu(self.shared(torch.relu(self.shared(x))))


def test_filters_of_no_module_are_drawn_too_and_shared_ones_once() -> None:
    graph = trace(Functional(), (8, 8))
    before = weights(graph)
    list(cascade(graph, 0))
    now = weights(graph)
    assert now.keys() == before.keys()
    assert not any(torch.equal(now[name], before[name]) for name in now)
    drawn = weights_of_layers(graph)
    assert sum(map(len, drawn.values())) == len(now)
