"""The deconvnet against two others: one written out in numpy, one made of autograd."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.trace import Graph, Layer, trace
from pipeline.core.nets import known
from pipeline.core.projection import deconvnet
from pipeline.core.projection.deconvnet import Seeds, Unpooling, ascend, project
from tests.core import guided, random_nets
from tests.core.dense import Array, Chain

pytestmark = pytest.mark.usefixtures("one_thread")

ALEXNET_CONVS = {f"conv{n}": place for n, place in enumerate((0, 3, 6, 8, 10), 1)}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeds(*rows: Sequence[int]) -> Seeds:
    """From rows of image, feature map, y, x."""
    return Seeds(*torch.tensor(rows).T)


def whole(graph: Graph, layer: Layer, chosen: Seeds, projections: list[Tensor]) -> Tensor:
    """Projections laid into the whole input, zero outside their boxes."""
    _, height, width = next(iter(graph.steps.values())).shape
    boxes = receptive_field(graph, layer).boxes(chosen.y.numpy(), chosen.x.numpy(), (height, width))
    canvas = projections[0].new_zeros(len(chosen), 3, height, width)
    for one, projection, (top, left, bottom, right) in zip(
        canvas, projections, boxes.tolist(), strict=True
    ):
        assert projection.shape == (3, bottom - top, right - left)
        one[:, top:bottom, left:right] = projection
    return canvas


def strongest_maps(maps: Tensor, places: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """At each place the feature map that is strongest there: (feature map, y, x)."""
    return [(int(maps[:, y, x].argmax()), y, x) for y, x in places]


def corners_borders_middle(size: tuple[int, int]) -> list[tuple[int, int]]:
    height, width = size
    bottom, right, y, x = height - 1, width - 1, height // 2, width // 2
    return [(0, 0), (0, right), (bottom, 0), (bottom, right), (0, x), (y, right), (y, x)]


# --- against numpy ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alexnet() -> tuple[Graph, Chain, Tensor]:
    net = known.build("alexnet", seed=7).double()
    graph = known.assemble("alexnet", net, known.preprocessing("alexnet")).graph
    image = noise(3, 224, 224)
    return graph, Chain(net.features, image.numpy()), image


@pytest.mark.parametrize("name", ALEXNET_CONVS)
@pytest.mark.parametrize("unpooling", ["sum", "max"])
def test_alexnet_equals_the_dense_formulation(
    alexnet: tuple[Graph, Chain, Tensor], name: str, unpooling: Unpooling
) -> None:
    graph, chain, image = alexnet
    layer, level = graph.layer(name), ALEXNET_CONVS[name] + 1
    ascent = ascend(graph, image[None])
    maps = ascent.activations[name][0]
    np.testing.assert_allclose(maps.numpy(), chain.levels[level][2], rtol=1e-9, atol=1e-12)

    places = corners_borders_middle(layer.size)
    if unpooling == "max":
        places = places[::3]
    rows = strongest_maps(maps, places)
    assert all(maps[row] > 0 for row in rows)
    chosen = seeds(*((0, *row) for row in rows))
    found = whole(graph, layer, chosen, project(graph, layer, ascent, chosen, unpooling)).numpy()
    for one, row in zip(found, rows, strict=True):
        expected = chain.project(level, *row, unpooling)
        largest = np.abs(expected).max()
        assert largest > 0
        assert np.abs(one - expected).max() <= 1e-9 * largest


CHAINS: dict[str, list[nn.Module]] = {
    "response normalisation": [
        nn.Conv2d(3, 8, 5, 2),
        nn.ReLU(),
        nn.LocalResponseNorm(5, 0.5, 0.75),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.ReLU(),
    ],
    "response normalisation before ReLU": [
        nn.Conv2d(3, 8, 3),
        nn.LocalResponseNorm(4, 0.9, 0.5, 2.0),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.ReLU(),
    ],
    "batch normalisation": [
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.BatchNorm2d(8, affine=False),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
    ],
    "groups": [
        nn.Conv2d(3, 6, 3, groups=3),
        nn.ReLU(),
        nn.Conv2d(6, 8, (3, 2), (2, 1), groups=2),
        nn.ReLU(),
    ],
    "dilation": [
        nn.Conv2d(3, 4, 3, dilation=(2, 3), padding=(4, 1)),
        nn.ReLU(),
        nn.MaxPool2d(3, 1, 1, dilation=2),
        nn.Conv2d(4, 4, (2, 3), stride=(1, 2), dilation=(3, 2), padding=2),
        nn.ReLU(),
    ],
    "average, padding counted": [
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
    ],
    "average, padding not counted": [
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(2, 1, divisor_override=3),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
    ],
    "overlapping pools in a row": [
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(3, 1, ceil_mode=True),
        nn.MaxPool2d((3, 2), 2, padding=1, ceil_mode=True),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
    ],
    "a pool at the very bottom": [
        nn.AvgPool2d(2, 1),
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(4, 4, 2),
        nn.ReLU(),
    ],
    "the mean of whole maps": [
        nn.Conv2d(3, 4, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4, 4, 1),
        nn.ReLU(),
    ],
    "no rectification at the top": [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)],
}


@pytest.mark.parametrize("unpooling", ["sum", "max"])
@pytest.mark.parametrize("name", CHAINS)
def test_every_position_equals_the_dense_formulation(name: str, unpooling: Unpooling) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(*CHAINS[name]).double().eval()
        for module in net:
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        random_nets.settle(net)
    image = noise(3, 19, 22)
    graph, chain = trace(net, (19, 22)), Chain(net, image.numpy())
    ascent = ascend(graph, image[None])
    layer = graph.layers[-1]
    maps = ascent.activations[layer.name][0]
    expected_maps = chain.levels[-1][2]
    np.testing.assert_allclose(maps.numpy(), expected_maps, rtol=1e-10, atol=1e-12)

    height, width = layer.size
    rows = [((y + x) % layer.maps, y, x) for y in range(height) for x in range(width)]
    chosen = seeds(*((0, *row) for row in rows))
    found = whole(graph, layer, chosen, project(graph, layer, ascent, chosen, unpooling)).numpy()
    expected = np.stack([chain.project(len(net) - 1, *row, unpooling) for row in rows])
    assert np.abs(expected).max() > 0
    scale = np.abs(expected).max((1, 2, 3), keepdims=True)
    assert (np.abs(found - expected) <= 1e-9 * scale).all()


# --- unpooling --------------------------------------------------------------------------------


def pooled_once() -> tuple[Graph, Layer, Tensor]:
    """A net whose last layer reads one overlapping pool of the rectified input."""
    first = nn.Conv2d(3, 3, 1, groups=3, bias=False)
    nn.init.ones_(first.weight)
    last = nn.Conv2d(3, 1, 2, bias=False)
    nn.init.ones_(last.weight)
    net = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(3, 2), last, nn.ReLU()).double()
    graph = trace(net, (5, 5))
    # one place is the maximum of all four windows
    image = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    image[:, :, 2, 2] = 2
    return graph, graph.layers[-1], image


def test_a_place_that_won_four_windows_gets_their_sum_or_the_largest() -> None:
    graph, layer, image = pooled_once()
    ascent = ascend(graph, image)
    conv = graph.steps[layer.step]
    assert conv.shape == (1, 1, 1)
    chosen = seeds((0, 0, 0, 0))
    only_centre = torch.zeros(3, 5, 5, dtype=torch.float64)
    only_centre[:, 2, 2] = 24  # the activation: 3 maps, 4 windows, 2 each

    (summed,) = project(graph, layer, ascent, chosen)
    torch.testing.assert_close(summed, 4 * only_centre)
    (largest,) = project(graph, layer, ascent, chosen, "max")
    torch.testing.assert_close(largest, only_centre)


def test_summing_is_not_what_torchs_unpooling_does() -> None:
    graph, layer, image = pooled_once()
    ascent = ascend(graph, image)
    (projected,) = project(graph, layer, ascent, seeds((0, 0, 0, 0)))
    (pool,) = ascent.switches
    switches = ascent.switches[pool]
    came_down = torch.full_like(switches, 24, dtype=torch.float64)
    overwritten = nn.functional.max_unpool2d(came_down, switches, 3, 2, output_size=(5, 5))[0]
    assert projected.max() == 4 * overwritten.max()


# --- against autograd -------------------------------------------------------------------------

# net, pixels of its input, and which of its layers: every n-th
NETS = [
    ("alexnet", 128, 1),
    ("squeezenet1_1", 96, 1),
    ("resnet18", 96, 1),
    ("vgg11_bn", 64, 1),
    ("googlenet", 96, 1),
    ("densenet121", 64, 7),
    ("inception_v3", 128, 6),
    ("regnet_y_400mf", 64, 5),
    ("mobilenet_v2", 64, 3),
    ("mobilenet_v3_small", 64, 3),
    ("efficientnet_b0", 64, 6),
    ("mnasnet0_5", 64, 6),
    ("shufflenet_v2_x0_5", 64, 6),
    ("convnext_tiny", 64, 3),
]


@pytest.mark.parametrize(("name", "pixels", "every"), NETS)
def test_layers_equal_guided_autograd(name: str, pixels: int, every: int) -> None:
    net = known.build(name, seed=1).eval()
    random_nets.settle(net)
    short = ALEXNET_CONVS if name == "alexnet" else {}
    names = {f"features.{place}": conv for conv, place in short.items()}
    graph = trace(net, (pixels, pixels), lambda path: names.get(path, path))
    images = noise(3, 3, pixels, pixels, dtype=torch.float32).requires_grad_()
    maps = {names.get(path, path): out for path, out in guided.layers(net, images).items()}
    assert {layer.name for layer in graph.layers} == set(maps)
    assert not graph.opaque

    chosen_layers = graph.layers[len(graph.layers) - 1 :: -every]
    graph = graph.only(layer.name for layer in chosen_layers)
    ascent = ascend(graph, images.detach())
    for layer in graph.layers:
        own = maps[layer.name].detach()
        assert torch.equal(ascent.activations[layer.name], own), layer.name
        places = [(0, 0), (layer.size[0] - 1, layer.size[1] // 2)]
        rows = [(n, *strongest_maps(own[n], [place])[0]) for n, place in enumerate(places)]
        best = int(own[2].argmax())
        rows.append((2, *np.unravel_index(best, own.shape[1:])))
        chosen = seeds(*rows)
        found = whole(graph, layer, chosen, project(graph, layer, ascent, chosen))
        _, feature_map, y, x = zip(*rows, strict=True)
        expected = guided.project(maps[layer.name], images, feature_map, y, x)
        largest = expected.abs().amax((1, 2, 3))
        assert largest.max() > 0, layer.name
        assert ((found - expected).abs().amax((1, 2, 3)) <= 1e-5 * largest).all(), layer.name


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_nets.cases(), st.randoms(use_true_random=False))
def test_random_nets_equal_guided_autograd(case: random_nets.Case, random: object) -> None:
    size = case.images.shape[2:]
    graph = trace(case.net, (size[0], size[1]))
    images = case.images.clone().requires_grad_()
    maps = guided.layers(case.net, images)
    assert {layer.name for layer in graph.layers} == set(maps)
    ascent = ascend(graph, case.images)
    for layer in graph.layers:
        torch.testing.assert_close(
            ascent.activations[layer.name], maps[layer.name], rtol=1e-12, atol=1e-12
        )
        rows = [
            (n, *(random.randrange(side) for side in (layer.maps, *layer.size)))  # type: ignore[attr-defined]
            for n in range(len(images))
        ]
        chosen = seeds(*rows)
        found = whole(graph, layer, chosen, project(graph, layer, ascent, chosen))
        _, feature_map, y, x = zip(*rows, strict=True)
        expected = guided.project(maps[layer.name], images, feature_map, y, x)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


# --- properties -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squeezenet() -> tuple[Graph, Tensor]:
    net = known.build("squeezenet1_1", seed=2).double()
    return trace(net, (96, 96)), noise(2, 3, 96, 96, seed=5)


@pytest.mark.parametrize("name", ["features.0", "features.4.expand3x3", "features.12.squeeze"])
@pytest.mark.parametrize("unpooling", ["sum", "max"])
def test_a_projection_is_linear_in_its_seed(
    squeezenet: tuple[Graph, Tensor], name: str, unpooling: Unpooling
) -> None:
    graph, images = squeezenet
    layer, ascent = graph.layer(name), ascend(graph, images)
    row = (1, *strongest_maps(ascent.activations[name][1], [(1, 1)])[0])
    (one,) = project(graph, layer, ascent, seeds(row), unpooling)
    with torch.inference_mode():
        ascent.activations[name][row] *= 3.5
    (more,) = project(graph, layer, ascent, seeds(row), unpooling)
    assert one.abs().max() > 0
    assert (more - 3.5 * one).abs().max() <= 1e-12 * more.abs().max()


def test_seeds_do_not_disturb_each_other(
    squeezenet: tuple[Graph, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, images = squeezenet
    layer = graph.layer("features.6.expand1x1")
    ascent = ascend(graph, images)
    rows = [
        (n, *row)
        for n in (0, 1)
        for row in strongest_maps(
            ascent.activations[layer.name][n], corners_borders_middle(layer.size)
        )
    ]
    rows.append(rows[3])
    together = project(graph, layer, ascent, seeds(*rows))
    alone = [project(graph, layer, ascent, seeds(row))[0] for row in rows]
    monkeypatch.setattr(deconvnet, "_LARGEST_SIGNAL", 500_000)  # a few at a time
    few = project(graph, layer, ascent, seeds(*rows))
    for one, other, third in zip(together, alone, few, strict=True):
        assert other.abs().max() > 0
        assert (one - other).abs().max() <= 1e-12 * other.abs().max()
        assert (third - other).abs().max() <= 1e-12 * other.abs().max()
    assert project(graph, layer, ascent, seeds(*rows)[:0]) == []


def test_the_memory_layout_does_not_matter(squeezenet: tuple[Graph, Tensor]) -> None:
    graph, images = squeezenet
    other = trace(
        known.build("squeezenet1_1", seed=2).double().to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        (96, 96),
    )
    layer = graph.layer("features.12.expand3x3")
    ascent = ascend(graph, images)
    laid_out = ascend(other, images.contiguous(memory_format=torch.channels_last))
    rows = strongest_maps(ascent.activations[layer.name][0], corners_borders_middle(layer.size))
    chosen = seeds(*((0, *row) for row in rows))
    for one, two in zip(
        project(graph, layer, ascent, chosen),
        project(other, layer, laid_out, chosen),
        strict=True,
    ):
        assert one.abs().max() > 0
        assert (one - two).abs().max() <= 1e-9 * one.abs().max()


def test_the_last_filtering_is_not_rectified_and_no_bias_comes_down() -> None:
    conv = nn.Conv2d(3, 1, 3).double()
    graph = trace(nn.Sequential(conv, nn.ReLU()), (3, 3))
    with torch.no_grad():
        conv.bias.fill_(100)  # type: ignore[union-attr]
    ascent = ascend(graph, noise(1, 3, 3, 3))
    activation = ascent.at("0", seeds((0, 0, 0, 0)))
    (projection,) = project(graph, graph.layers[0], ascent, seeds((0, 0, 0, 0)))
    assert projection.min() < 0
    torch.testing.assert_close(projection, activation * conv.weight.detach()[0])


def test_the_way_down_does_not_ask_what_was_active_on_the_way_up() -> None:
    """Unlike backpropagation: rectification looks at the signal alone."""
    first, last = nn.Conv2d(3, 2, 1).double(), nn.Conv2d(2, 1, 1, bias=False).double()
    with torch.no_grad():
        first.weight[:] = torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None]
        first.bias[:] = torch.tensor([1.0, -100])  # type: ignore[index]
        last.weight.fill_(1)
    graph = trace(nn.Sequential(first, nn.ReLU(), last, nn.ReLU()), (1, 1))
    images = torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    ascent = ascend(graph, images)
    assert ascent.activations["0"][0, 1, 0, 0] == 0  # the second map is not active
    (projection,) = project(graph, graph.layer("2"), ascent, seeds((0, 0, 0, 0)))
    expected: Array = np.array([1.0, 1.0, 0.0])
    np.testing.assert_allclose(projection.flatten().numpy(), expected)
