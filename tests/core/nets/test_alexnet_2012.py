"""The AlexNet of 2012: the poster's geometry, and the forward pass and projections in numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.core.nets import known
from pipeline.core.nets.old import DESIGNS, Normalisation, OldNet
from pipeline.core.nets.recipe import Recipe
from tests.core.nets.old_nets import check_forward, check_projections, geometry, made, picture

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "alexnet-2012"
VARIANT = DESIGNS[NAME].variant
STRONG = Normalisation(5, 3e-3, 0.75, 2.0)  # on untrained maps the usual one hardly does anything
NARROW = replace(VARIANT, maps=(24, 32, 20, 24, 16), hidden=(12, 10), normalisation=STRONG)


def test_maps_and_receptive_fields_are_the_posters() -> None:
    net = known.build(NAME, variant=replace(VARIANT, hidden=(8, 8)))
    graph = known.assemble(NAME, net, known.preprocessing(NAME)).graph
    assert geometry(graph) == [
        ("conv1", 96, 55, 11, 4, 0),
        ("conv2", 256, 27, 51, 8, -16),
        ("conv3", 384, 13, 99, 16, -32),
        ("conv4", 384, 13, 131, 16, -48),
        ("conv5", 256, 13, 163, 16, -64),
    ]
    assert not graph.opaque


def test_it_has_as_many_parameters_as_the_paper_says() -> None:
    with torch.device("meta"):
        net = OldNet(DESIGNS[NAME])
    assert sum(one.numel() for one in net.parameters()) == 60_965_224  # BVLC's count too
    assert net.conv2.weight.shape == (256, 48, 5, 5)
    assert net.fc6.weight.shape == (4096, 9216)
    assert [net.conv4.groups, net.conv5.groups] == [2, 2]


def test_pictures_lose_their_aspect_and_their_mean() -> None:
    prepared = known.preprocessing(NAME)
    assert (prepared.resize, prepared.crop) == ((256, 256), 227)
    batch = prepared.normalise(prepared.prepare(torch.full((3, 60, 200), 200).byte())[None])
    means = torch.tensor([123.68, 116.779, 103.939])
    expected = (200 - means)[:, None, None].expand(3, 227, 227)
    torch.testing.assert_close(batch[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("pool_first", [True, False])
def test_forward_and_projections_equal_numpys(pool_first: bool) -> None:
    net, graph, image = made(NAME, replace(NARROW, pool_first=pool_first))
    check_forward(net, graph, image)
    check_projections(net, graph, image)


def test_the_order_and_the_normalisation_matter() -> None:
    outputs = []
    for variant in (
        NARROW,
        replace(NARROW, pool_first=False),
        replace(NARROW, normalisation=Normalisation(5, 0.0, 0.75, 1.0)),
    ):
        net, _, image = made(NAME, variant)
        with torch.no_grad():
            outputs.append(net.eval()(image[None]))
    for one in range(3):
        for other in range(one):
            difference = (outputs[one] - outputs[other]).abs().max()
            assert difference > 1e-4 * outputs[one].abs().max()


def test_groups_see_their_half_of_the_maps_below() -> None:
    net, graph, image = made(NAME, NARROW)
    with torch.no_grad():
        net.get_submodule("conv1").weight[12:] = 0
        net.get_submodule("conv1").bias[12:] = 0
        maps = graph.trunk(image[None])[1][0]
    bias = net.get_submodule("conv2").bias.detach().clamp_min(0)
    assert torch.equal(maps[16:], bias[16:, None, None].expand_as(maps[16:]))
    assert maps[:16].std() > 0


@pytest.mark.parametrize("pool_first", [True, False])
def test_a_normalisation_is_caffes(pool_first: bool) -> None:
    """1 + alpha / size times the sum of squares over the neighbouring maps."""
    between = replace(VARIANT, pool_first=pool_first).between(0)
    norm = next(one for one in between if isinstance(one, torch.nn.LocalResponseNorm))
    x = torch.randn(1, 9, 2, 3, dtype=torch.float64) * 300
    a = x[0].numpy()
    expected = np.empty_like(a)
    for c in range(9):
        around = a[max(0, c - 2) : c + 3]
        expected[c] = a[c] / (1 + 1e-4 / 5 * (around**2).sum(0)) ** 0.75
    np.testing.assert_allclose(norm(x)[0].numpy(), expected, rtol=1e-12)
    assert isinstance(next(iter(between)), torch.nn.MaxPool2d) == pool_first


def test_a_worker_builds_the_same_variant() -> None:
    variant = replace(NARROW, pool_first=False, ceil=(False, False, True))
    module = known.build(NAME, 5, 3, variant)
    net = known.assemble(NAME, module, known.preprocessing(NAME), variant=variant)
    there = Recipe.of(net, ["conv2", "conv5"]).make("cpu")
    images = net.preprocessing.normalise(torch.stack([picture(227, 1), picture(227, 2)]))
    with torch.inference_mode():
        expected = net.graph.only(["conv2", "conv5"]).trunk(images)
        found = there.graph.trunk(images)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
