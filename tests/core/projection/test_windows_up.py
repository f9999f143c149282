"""The way up on windows against the one over whole images: every kind of step, every border."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core.graph.steps import Conv
from pipeline.core.graph.trace import Graph, Layer, trace
from pipeline.core.nets import known
from pipeline.core.projection import clipping, deconvnet
from pipeline.core.projection.clipping import Clipping, multiply_adds
from pipeline.core.projection.deconvnet import Seeds, Unpooling, ascend, project, project_on_windows
from tests.core import random_nets
from tests.core.projection.test_deconvnet import CHAINS, noise

pytestmark = pytest.mark.usefixtures("one_thread")


def every_position(layer: Layer, images: int) -> Seeds:
    """All places of a layer, images and feature maps in turn."""
    y, x = torch.meshgrid(*(torch.arange(side) for side in layer.size), indexing="ij")
    number = torch.arange(y.numel())
    return Seeds(number % images, number * 7 % layer.maps, y.ravel(), x.ravel())


def some_positions(layer: Layer, images: int, count: int) -> Seeds:
    """The corners, places on each edge, and places anywhere."""
    generator = torch.Generator().manual_seed(0)

    def draw(most: int, n: int) -> Tensor:
        return torch.randint(0, most, (n,), generator=generator)

    bottom, right = layer.size[0] - 1, layer.size[1] - 1
    y, x = draw(bottom + 1, count), draw(right + 1, count)
    y[:8] = torch.tensor([0, 0, bottom, bottom, 0, bottom, bottom // 3, bottom // 2])
    x[:8] = torch.tensor([0, right, 0, right, right // 2, right // 3, 0, right])
    return Seeds(draw(images, count), draw(layer.maps, count), y, x)


def assert_alike(
    graph: Graph, layer: Layer, images: Tensor, seeds: Seeds, tolerance: float,
    unpooling: Unpooling = "sum",
) -> None:  # fmt: skip
    ascent = ascend(graph, images)
    expected = project(graph, layer, ascent, seeds, unpooling)
    activations, projections = project_on_windows(graph, layer, images, seeds, unpooling)
    scale = ascent.activations[layer.name].abs().max()
    wrong = (activations - ascent.at(layer.name, seeds)).abs().max()
    assert wrong <= tolerance * scale, layer.name
    for one, other in zip(projections, expected, strict=True):
        assert one.shape == other.shape
        if other.numel():  # a position that reads padding alone has an empty box
            wrong = (one - other).abs().max()
            assert wrong <= tolerance * other.abs().max(), layer.name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", [f"conv{n}" for n in range(1, 6)])
def test_alexnet(name: str, dtype: torch.dtype, tolerance: float) -> None:
    net = known.build("alexnet", seed=7).to(dtype)
    graph = known.assemble("alexnet", net, known.preprocessing("alexnet")).graph
    layer = graph.layer(name)
    seeds = some_positions(layer, 2, 40)
    assert_alike(graph, layer, noise(2, 3, 224, 224, dtype=dtype), seeds, tolerance)


LOCAL = [name for name in CHAINS if name != "the mean of whole maps"]


@pytest.mark.parametrize("unpooling", ["sum", "max"])
@pytest.mark.parametrize("name", LOCAL)
def test_every_position_of_chains(name: str, unpooling: Unpooling) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(*CHAINS[name]).double().eval()
        random_nets.settle(net)
    graph = trace(net, (19, 22))
    for layer in graph.layers:
        seeds = every_position(layer, 2)
        assert_alike(graph, layer, noise(2, 3, 19, 22), seeds, 1e-9, unpooling)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_nets.cases(), st.sampled_from([0, 1_000_000_000]))
def test_every_position_of_random_nets(case: random_nets.Case, again: int) -> None:
    """Whether positions at the border go with others or not."""
    graph = trace(case.net, (case.images.shape[2], case.images.shape[3]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clipping, "_PER_STEP", again)
        patch.setattr(clipping, "_PER_WEIGHT", 0)
        for layer in graph.layers:
            assert Clipping(graph, layer).is_local
            assert_alike(graph, layer, case.images, every_position(layer, 2), 1e-9)


@pytest.mark.parametrize(
    ("name", "every"), [("googlenet", 9), ("densenet121", 19), ("resnet18", 4)]
)
def test_branches_of_real_nets(name: str, every: int) -> None:
    net = known.build(name, seed=1).double().eval()
    random_nets.settle(net)
    graph = trace(net, (64, 64))
    for layer in graph.layers[::every]:
        assert_alike(graph, layer, noise(2, 3, 64, 64), some_positions(layer, 2, 10), 1e-9)


def test_positions_that_read_padding_alone() -> None:
    """Their windows have no place in common with the map, nor with each other's."""
    ways: list[nn.Module] = [
        nn.Conv2d(3, 2, 1, 2),
        nn.Sequential(nn.Conv2d(3, 2, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.Conv2d(2, 2, 1)),
    ]
    branches = random_nets.Branches(ways, "add")
    net = nn.Sequential(
        nn.Conv2d(3, 3, 1), branches, nn.Conv2d(2, 2, 1, padding=(0, 3)), nn.Conv2d(2, 2, 1)
    )
    graph = trace(net.double(), (7, 7))
    for layer in graph.layers:
        assert_alike(graph, layer, noise(2, 3, 7, 7), every_position(layer, 2), 1e-9)
        for y, x in [(0, 0), (0, layer.size[1] - 1)]:
            alone = Seeds(*torch.tensor([[0, 1, y, x]]).T)
            assert_alike(graph, layer, noise(2, 3, 7, 7), alone, 1e-9)


def test_what_looks_at_whole_maps_is_told() -> None:
    graph = trace(known.build("efficientnet_b0"), (64, 64))
    local = [Clipping(graph, layer).is_local for layer in graph.layers]
    assert local[0]
    assert not any(local[2:])


def test_seeds_are_split_only_where_it_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = known.assemble("alexnet", known.build("alexnet"), known.preprocessing("alexnet")).graph
    layer = graph.layer("conv4")
    seeds = every_position(layer, 1)
    y, x = seeds.y.numpy(), seeds.x.numpy()
    made = Clipping(graph, layer)
    batches = made.batches(y, x)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(y)))
    assert 1 < len(batches) < len(y)
    monkeypatch.setattr(clipping, "_PER_STEP", 10**12)
    assert len(Clipping(graph, layer).batches(y, x)) == 1
    monkeypatch.setattr(clipping, "_PER_STEP", 0)
    monkeypatch.setattr(clipping, "_PER_WEIGHT", 0)
    assert len(Clipping(graph, layer).batches(y, x)) > len(batches)
    assert Clipping(graph, layer).batches(y[:0], x[:0]) == []


def test_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net = known.build("squeezenet1_1", seed=2).double()
    graph, images = trace(net, (96, 96)), noise(2, 3, 96, 96, seed=5)
    layer = graph.layer("features.6.expand1x1")
    monkeypatch.setattr(deconvnet, "_LARGEST_SIGNAL", 500_000)
    assert_alike(graph, layer, images, some_positions(layer, 2, 20), 1e-9)


def test_work_is_counted_exactly() -> None:
    """By hand: positions of a second layer, in a corner and in the middle."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1)
    )
    graph = trace(net, (12, 12))
    first = 12 * 12 * 3 * 4 * 9
    assert list(multiply_adds(graph).values()) == [first, first + 6 * 6 * 4 * 5 * 9]
    made = Clipping(graph, graph.layers[1])
    corner, middle = made.work(np.array([0, 3]), np.array([0, 3])).tolist()
    assert corner == 4 * 4 * 3 * 4 * 9 + 4 * 5 * 9
    assert middle == 6 * 6 * 3 * 4 * 9 + 4 * 5 * 9
    (batch,) = made.batches(np.array([3, 3]), np.array([2, 3]))
    assert len(batch) == 2
    assert all(isinstance(step.op, Conv) for step in list(graph.steps.values())[1::3])
