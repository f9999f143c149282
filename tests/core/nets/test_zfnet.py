"""ZFNet: the paper's geometry, and the forward pass and projections in numpy."""

from dataclasses import replace

import pytest
import torch

from pipeline.core.nets import known
from pipeline.core.nets.old import DESIGNS, Normalisation, OldNet
from tests.core.nets.old_nets import check_forward, check_projections, geometry, made

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "zfnet"
VARIANT = DESIGNS[NAME].variant
STRONG = Normalisation(5, 3e-3, 0.75, 2.0)
NARROW = replace(VARIANT, maps=(12, 16, 20, 18, 14), hidden=(12, 10), normalisation=STRONG)


def test_maps_are_the_papers() -> None:
    """Figure 3: 110, 55 after pooling, 26, 13 after pooling; 13, 13, 13, 6 after pooling."""
    net = known.build(NAME, variant=replace(VARIANT, hidden=(8, 8)))
    graph = known.assemble(NAME, net, known.preprocessing(NAME)).graph
    assert geometry(graph) == [
        ("conv1", 96, 110, 7, 2, -1),
        ("conv2", 256, 26, 27, 8, -1),
        ("conv3", 384, 13, 75, 16, -17),
        ("conv4", 384, 13, 107, 16, -33),
        ("conv5", 256, 13, 139, 16, -49),
    ]
    with torch.device("meta"):
        assert OldNet(DESIGNS[NAME]).fc6.weight.shape == (4096, 9216)


def test_pictures_keep_their_aspect() -> None:
    prepared = known.preprocessing(NAME)
    assert (prepared.resize, prepared.crop) == (256, 224)
    black = prepared.normalise(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    expected = -torch.tensor([123.68, 116.779, 103.939])
    torch.testing.assert_close(black[0, :, 0, 0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "variant",
    [NARROW, replace(NARROW, pool_first=False, padding=0, ceil=(False, False, True))],
    ids=["paper", "model zoo"],
)
def test_forward_and_projections_equal_numpys(variant: object) -> None:
    net, graph, image = made(NAME, variant)  # type: ignore[arg-type]
    check_forward(net, graph, image)
    check_projections(net, graph, image)
