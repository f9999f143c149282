"""Receptive fields: typed tables, and what a signal really reaches on its way down."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core.field import ReceptiveField
from pipeline.core.graph.receptive_field import Window, receptive_field
from pipeline.core.graph.trace import Graph, Layer, trace
from pipeline.core.nets import known
from tests.core import guided, random_nets

pytestmark = pytest.mark.usefixtures("one_thread")

# of torchvision's AlexNet at 224: maps, size of the map, pixels, stride, start of the first
ALEXNET = {
    "conv1": (64, 55, 11, 4, -2),
    "conv2": (192, 27, 51, 8, -18),
    "conv3": (384, 13, 99, 16, -34),
    "conv4": (256, 13, 131, 16, -50),
    "conv5": (256, 13, 163, 16, -66),
}

# of others at 224: layer → pixels, stride, start of the first
KNOWN = {
    "vgg11": {"features.0": (3, 1, -1), "features.18": (134, 16, -59)},
    "resnet18": {"conv1": (7, 2, -3), "layer1.0": (27, 4, -13), "layer4.1": (435, 32, -217)},
    "squeezenet1_1": {"features.0": (3, 2, 0), "features.3.expand1x1": (7, 4, 0)},
}


def test_alexnets_are_those_of_the_table() -> None:
    with torch.device("meta"):
        net = known.build("alexnet")
    graph = known.assemble("alexnet", net, known.preprocessing("alexnet")).graph
    found = {}
    for layer in graph.layers:
        field = receptive_field(graph, layer)
        assert layer.size[0] == layer.size[1]
        assert field.size[0] == field.size[1]
        assert field.stride[0] == field.stride[1]
        assert field.start[0] == field.start[1]
        side, pixels, stride, start = layer.size[0], field.size[0], field.stride[0], field.start[0]
        found[layer.name] = (layer.maps, side, pixels, stride, start)
    assert found == ALEXNET


@pytest.mark.parametrize("name", KNOWN)
def test_known_fields_of_other_nets(name: str) -> None:
    with torch.device("meta"):
        graph = trace(known.build(name), (224, 224))
    for layer, (pixels, stride, start) in KNOWN[name].items():
        expected = ReceptiveField((pixels, pixels), (stride, stride), (start, start))
        assert receptive_field(graph, graph.layer(layer)) == expected


def test_boxes_are_clipped_to_the_input() -> None:
    field = ReceptiveField((11, 51), (4, 8), (-2, -18))
    y, x = np.array([0, 1, 54, 54]), np.array([0, 3, 3, 26])
    expected = [[0, 0, 9, 33], [2, 6, 13, 57], [214, 6, 224, 57], [214, 190, 224, 230]]
    boxes = field.boxes(y, x, (224, 230))
    assert boxes.dtype == np.int16
    np.testing.assert_array_equal(boxes, expected)


def test_a_window_that_does_not_move_holds_one_that_does() -> None:
    whole, moving = Window(14, 0, 0), Window(3, 2, -1)
    assert whole.union(moving) == moving.union(whole) == whole
    assert Window(3, 2, -1).union(Window(1, 2, 4)) == Window(6, 2, -1)
    with pytest.raises(ValueError, match="stride 2 and 4"):
        Window(3, 2, 0).union(Window(3, 4, 0))


# --- what is reached --------------------------------------------------------------------------


def positive(net: nn.Module) -> nn.Module:
    """The net with every filter positive, so that nothing that is reached cancels out."""
    net = copy.deepcopy(net).double().eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight.shape[1])
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            nn.init.ones_(module.running_var)
            if module.affine:
                nn.init.ones_(module.weight)
    return net


def reached(maps: Tensor, images: Tensor, places: list[tuple[int, int]]) -> Tensor:
    """For each place (one image each) which pixels a signal from there reaches, (n, H, W)."""
    y, x = zip(*places, strict=True)
    signal = torch.ones(len(places), dtype=maps.dtype)
    down = guided.project(maps, images, [0] * len(places), y, x, signal)
    assert (down >= 0).all()
    return down.sum(1) > 0


def bounds(pixels: Tensor) -> list[int]:
    """Top, left, bottom, right of what is set."""
    rows, columns = pixels.any(1).nonzero()[:, 0], pixels.any(0).nonzero()[:, 0]
    return [int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1]


def predicted(graph: Graph, layer: Layer, places: list[tuple[int, int]]) -> list[list[int]]:
    _, height, width = next(iter(graph.steps.values())).shape
    y, x = np.array(places).T
    boxes: list[list[int]] = receptive_field(graph, layer).boxes(y, x, (height, width)).tolist()
    return boxes


# sizes at which no stride leaves a remainder: pixels at the far border that nothing reads
REACHED = [
    ("alexnet", (191, 223), 1),
    ("squeezenet1_1", (97, 113), 1),
    ("resnet18", (97, 128), 1),
    ("googlenet", (96, 112), 6),
    ("densenet121", (64, 96), 12),
    ("inception_v3", (139, 155), 6),
    ("mobilenet_v2", (64, 96), 5),
]


@pytest.mark.parametrize(("name", "size", "every"), REACHED)
def test_fields_are_exactly_what_is_reached(name: str, size: tuple[int, int], every: int) -> None:
    net = positive(known.build(name))
    graph = trace(net, size)
    images = torch.rand(4, 3, *size, dtype=torch.float64).requires_grad_()
    maps = guided.layers(net, images, reach=True)
    inner = 0
    for layer in graph.layers[::-every]:
        (height, width), (rows, columns) = layer.size, size
        places = [(0, 0), (height - 1, width - 1), (height // 2, width // 2), (height // 3, 0)]
        boxes = predicted(graph, layer, places)
        for pixels, box in zip(reached(maps[layer.name], images, places), boxes, strict=True):
            assert bounds(pixels) == box, layer.name
            inner += box[0] > 0 and box[1] > 0 and box[2] < rows and box[3] < columns
    assert inner > 0  # not all of them were cut off by the border


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_nets.cases(images=4), st.data())
def test_nothing_outside_a_field_is_reached(case: random_nets.Case, data: st.DataObject) -> None:
    net = positive(case.net)
    graph = trace(net, (case.images.shape[2], case.images.shape[3]))
    images = case.images.clone().requires_grad_()
    maps = guided.layers(net, images, reach=True)
    for layer in graph.layers:
        place = st.tuples(*(st.integers(0, side - 1) for side in layer.size))
        places = [data.draw(place) for _ in range(4)]
        boxes = predicted(graph, layer, places)
        for pixels, (top, left, bottom, right) in zip(
            reached(maps[layer.name], images, places), boxes, strict=True
        ):
            assert pixels.sum() == pixels[top:bottom, left:right].sum()


@pytest.mark.parametrize("name", ["alexnet", "resnet18"])
def test_the_corner_pixel_of_a_field_counts_and_its_neighbours_do_not(name: str) -> None:
    """Forward only: what a changed pixel does to the activation."""
    net = positive(known.build(name))
    graph = trace(net, (227, 227))
    images = torch.rand(1, 3, 227, 227, dtype=torch.float64)

    def activations(changed: list[tuple[int, int]], layer: Layer, y: int, x: int) -> Tensor:
        batch = images.repeat(len(changed) + 1, 1, 1, 1)
        for image, (row, column) in zip(batch[1:], changed, strict=True):
            image[:, row, column] += 1e9
        with torch.no_grad():
            maps: Tensor = graph.only([layer.name]).trunk(batch)[0]
        return maps[:, 0, y, x]

    inside = 0
    for layer in graph.layers[:5]:
        y, x = layer.size[0] // 2, layer.size[1] // 2
        ((top, left, bottom, right),) = predicted(graph, layer, [(y, x)])
        corners = [(top, left), (top, right - 1), (bottom - 1, left), (bottom - 1, right - 1)]
        outside = [(top - 1, left), (top, left - 1), (bottom, right - 1), (bottom - 1, right)]
        outside = [place for place in outside if set(place) <= set(range(227))]
        inside += len(outside)
        before, *after = activations(corners + outside, layer, y, x).tolist()
        assert all(value > before for value in after[:4]), layer.name
        assert all(value == before for value in after[4:]), layer.name
    assert inside >= 12
