"""A box hidden from an image, against the whole net run on the image with the box painted over."""

from collections.abc import Sequence

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core.graph.trace import Layer, trace
from pipeline.core.occlusion.hiding import Box, Hiding
from tests.core import random_nets
from tests.core.occlusion.test_occlusion import headed


def painted_over(image: Tensor, box: Box) -> Tensor:
    top, left, bottom, right = box
    image = image.clone()
    image[:, top:bottom, left:right] = 0.0
    return image


def by_hand(net: nn.Module, image: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, list[Tensor]]:
    """Probabilities, and of each layer the largest activation of each map."""
    with torch.no_grad():
        trunk = trace(net, tuple(image.shape[1:])).trunk
        maps = dict(zip([layer.name for layer in layers], trunk(image[None]), strict=True))
        return net(image[None].clone())[0].softmax(0), [
            maps[x.name][0].amax((1, 2)) for x in layers
        ]


def assert_as_by_hand(net: nn.Module, image: Tensor, boxes: Sequence[Box]) -> None:
    size = (image.shape[1], image.shape[2])
    layers = trace(net, size).layers
    hiding = Hiding(net, layers, size)
    seen = hiding.look(image)
    watched = {layer.name: [*range(layer.maps)][::-3] for layer in layers}
    for box in (None, *boxes):
        hidden = image if box is None else painted_over(image, box)
        probabilities, activations = by_hand(net, hidden, layers)
        found = seen if box is None else hiding.hide(seen, box, watched)
        torch.testing.assert_close(found.probabilities, probabilities, rtol=1e-9, atol=1e-9)
        for layer, wanted in zip(layers, activations, strict=True):
            of_layer = wanted if box is None else wanted[watched[layer.name]]
            scale = float(wanted.abs().max()) or 1.0
            torch.testing.assert_close(
                found.strongest[layer.name], of_layer, rtol=0, atol=1e-9 * scale
            )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_nets.cases(images=1), st.data())
def test_random_nets(case: random_nets.Case, data: st.DataObject) -> None:
    image = case.images[0]
    net = headed(case, data.draw(st.booleans(), "linear layer over whole maps"))
    assume(trace(net, (image.shape[1], image.shape[2])).layers)

    def span(length: int) -> tuple[int, int]:
        first = data.draw(st.integers(0, length - 1))
        return first, data.draw(st.integers(first + 1, length))

    (top, bottom), (left, right) = (span(side) for side in image.shape[1:])
    assert_as_by_hand(net, image, [(top, left, bottom, right)])


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "googlenet", "efficientnet_b0"])
def test_every_layer_of_real_nets(name: str, one_thread: None) -> None:
    """Of EfficientNet nearly all is behind a gate, and so is computed whole."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        more = {"init_weights": True} if name == "googlenet" else {}
        net = torchvision.models.get_model(name, weights=None, **more).double().eval()
        image = torch.randn(3, 96, 96, dtype=torch.float64)
    assert_as_by_hand(
        net, image, [(0, 0, 20, 50), (40, 30, 75, 96), (0, 0, 96, 96), (50, 50, 51, 51)]
    )


def test_boxes_that_are_none() -> None:
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    hiding = Hiding(net.eval(), trace(net, (8, 8)).layers, (8, 8))
    seen = hiding.look(torch.zeros(3, 8, 8))
    for box in ((2, 2, 2, 4), (-1, 0, 3, 3), (0, 0, 9, 3), (0, 5, 3, 4)):
        with pytest.raises(ValueError, match="is no box"):
            hiding.hide(seen, box, {})
