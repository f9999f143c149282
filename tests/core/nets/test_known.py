"""The nets that are known: built from a seed, fitted with weights, prepared for."""

import pytest
import torch
from torch import nn
from torchvision.models import GoogLeNet, Inception3

from pipeline.core.nets import known
from pipeline.core.nets.fitting import classifier_bias, fit
from pipeline.core.nets.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

pytestmark = pytest.mark.usefixtures("one_thread")

KNOWN = known.names()


def test_known_are_the_convnets_of_torchvision_and_the_demos() -> None:
    assert {"demo", "alexnet", "vgg16_bn", "squeezenet1_1", "resnet50", "googlenet"} <= set(KNOWN)
    assert {"densenet121", "inception_v3", "mobilenet_v3_large", "efficientnet_b0"} <= set(KNOWN)
    assert {"convnext_tiny", "shufflenet_v2_x1_0"} <= set(KNOWN)
    assert not any("vit" in name or "swin" in name or "quant" in name for name in KNOWN)


@pytest.mark.parametrize("name", [name for name in KNOWN if not name.startswith("regnet")])
def test_every_known_net_can_be_built_for_any_number_of_classes(name: str) -> None:
    with torch.device("meta"):  # shapes alone
        net = known.build(name, 7)
    assert isinstance(net, nn.Module)
    assert len(net.state_dict()[classifier_bias(net)]) == 7


@pytest.mark.parametrize("name", ["regnet_x_400mf", "regnet_y_400mf"])
def test_a_regnet_can_be_built_for_any_number_of_classes(name: str) -> None:
    net = known.build(name, 7)  # it computes its widths, so not by shapes alone
    assert len(net.state_dict()[classifier_bias(net)]) == 7


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_net_has_a_preprocessing(name: str) -> None:
    prepared = known.preprocessing(name)
    shortest = prepared.resize if isinstance(prepared.resize, int) else min(prepared.resize)
    assert 100 < prepared.crop <= shortest <= 640
    assert prepared.interpolation in ("bilinear", "bicubic")


def test_the_preprocessing_belongs_to_the_weights() -> None:
    assert known.preprocessing("resnet50") == Preprocessing(256, 224)
    assert known.preprocessing("resnet50", "IMAGENET1K_V2") == Preprocessing(232, 224)
    bicubic = known.preprocessing("efficientnet_b0")
    assert bicubic == Preprocessing(256, 224, interpolation="bicubic")


@pytest.mark.parametrize(("name", "kind"), [("googlenet", GoogLeNet), ("inception_v3", Inception3)])
def test_the_input_transform_of_the_inceptions_is_in_their_preprocessing(
    name: str, kind: type[GoogLeNet | Inception3]
) -> None:
    picture = torch.randint(0, 256, (2, 3, 9, 9), dtype=torch.uint8)
    usual = Preprocessing(9, 9).normalise(picture)  # what their transforms() give
    with torch.device("meta"):
        net = kind(transform_input=True, init_weights=False)
    expected = net._transform_input(usual)
    prepared = known.preprocessing(name, "IMAGENET1K_V1")
    torch.testing.assert_close(prepared.normalise(picture), expected)
    assert not known.build(name).transform_input


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inceptions_that_others_trained_take_imagenets_mean(name: str) -> None:
    """Since torchvision gives its own weights alone a `transform_input`."""
    prepared = known.preprocessing(name)
    assert (prepared.mean, prepared.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = known.build("squeezenet1_1", seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again = known.build("squeezenet1_1", seed=3).state_dict()
    other = known.build("squeezenet1_1", seed=4).state_dict()
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["features.0.weight"], other["features.0.weight"])


# --- fitting ----------------------------------------------------------------------------------


def test_a_nets_own_weights_fit_another_of_its_kind() -> None:
    net, other = (known.build("demo", seed=seed) for seed in (0, 1))
    fit(other, net.state_dict())
    for key, tensor in net.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor)


@pytest.mark.parametrize(
    ("key", "change", "text"),
    [
        ("features.3.weight", None, "^features.3.weight is missing$"),
        ("features.3.weight", (64, 3, 5, 5), r"^features.3.weight is 64×3×5×5, .* 64×32×5×5$"),
        ("features.0.bias", (), r"^features.0.bias is a number, the net's own is 32$"),
        ("head.weight", (2, 2), "^the net has no head.weight$"),
    ],
)
def test_the_first_mismatch_is_named(key: str, change: tuple[int, ...] | None, text: str) -> None:
    net = known.build("demo")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = {name: tensor + 1 for name, tensor in before.items()}
    if change is None:
        del state[key]
    else:
        state[key] = torch.zeros(change)
    with pytest.raises(ValueError, match=text):
        fit(net, state)
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)


def test_auxiliary_classifiers_and_counters_may_be_missing() -> None:
    net = known.build("googlenet", 3)
    state = {
        key: tensor
        for key, tensor in known.build("googlenet", 3, seed=9).state_dict().items()
        if not key.startswith("aux") and not key.endswith("num_batches_tracked")
    }
    fit(net, state)
    assert torch.equal(net.state_dict()["conv1.conv.weight"], state["conv1.conv.weight"])
    with_others = {**state, "aux1.fc2.weight": torch.zeros(1)}  # of another number of classes
    fit(net, with_others)


def test_a_net_that_is_assembled_knows_its_classes() -> None:
    net = known.assemble("demo", known.build("demo", 5), known.preprocessing("demo"))
    assert (net.name, net.classes, net.categories) == ("demo", 5, None)
    assert [layer.name for layer in net.graph.layers] == [f"conv{n}" for n in range(1, 6)]
