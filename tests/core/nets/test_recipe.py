"""A net on its way to a worker: the same one is there."""

import pickle
from dataclasses import replace

import pytest
import torch

from pipeline.core.nets import known
from pipeline.core.nets.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", ["mnasnet0_5", "demo"])
def test_it_arrives(name: str, whole: bool) -> None:
    """MNASNet's loader asks for the version that a state dict has beside its tensors."""
    net = known.assemble(name, known.build(name, 7, seed=2), known.preprocessing(name))
    first = net.graph.layers[0].name
    sent = pickle.loads(pickle.dumps(Recipe.of(net, [first], whole=whole)))
    there = sent.make("cpu")
    assert (there.classes, there.module is not None) == (7, whole)
    images = torch.randn(1, 3, *net.preprocessing.input_size)
    with torch.inference_mode():
        torch.testing.assert_close(
            there.graph.trunk(images)[0], net.graph.only([first]).trunk(images)[0]
        )


def test_a_net_without_its_classifier_arrives_without() -> None:
    net = known.assemble("demo", known.build("demo", seed=2), known.preprocessing("demo"))
    trunk = replace(net, classes=0, module=None)
    there = Recipe.of(trunk, ["conv5"], whole=True).make("cpu")
    assert (there.classes, there.module) == (0, None)
    images = torch.randn(1, 3, *net.preprocessing.input_size)
    with torch.inference_mode():
        torch.testing.assert_close(there.graph.trunk(images)[0], net.graph.trunk(images)[-1])
