"""Nets as graphs: their layers and names, and that tracing changes nothing that they compute."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.trace import Graph, trace
from pipeline.core.graph.verify import verify
from pipeline.core.nets import known
from pipeline.core.projection.deconvnet import ascend
from tests.core import guided, random_nets

pytestmark = pytest.mark.usefixtures("one_thread")

SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def names(graph: Graph) -> list[str]:
    return [layer.name for layer in graph.layers]


def shapes_of(name: str) -> nn.Module:
    with torch.device("meta"):
        return known.build(name)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the layers -------------------------------------------------------------------------------


def test_the_layers_of_alexnet() -> None:
    with torch.device("meta"):
        net = known.build("alexnet")
    graph = known.assemble("alexnet", net, known.preprocessing("alexnet")).graph
    assert names(graph) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert [(layer.maps, layer.size) for layer in graph.layers] == [
        (64, (55, 55)),
        (192, (27, 27)),
        (384, (13, 13)),
        (256, (13, 13)),
        (256, (13, 13)),
    ]


def test_the_layers_of_squeezenet_are_all_its_convolutions() -> None:
    net = known.build("squeezenet1_1")
    paths = [path for path, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    assert names(trace(net, (96, 96))) == paths
    assert {"features.0", "features.3.expand3x3", "classifier.1"} <= set(paths)


def test_the_last_convolution_of_a_residual_block_goes_by_the_block() -> None:
    found = names(trace(shapes_of("resnet18"), (64, 64)))
    blocks = [
        name
        for stage in (1, 2, 3, 4)
        for block in (0, 1)
        for name in (f"layer{stage}.{block}.conv1", f"layer{stage}.{block}")
    ]
    assert found == ["conv1", *blocks]


def test_a_bottleneck_has_three_layers() -> None:
    found = names(trace(shapes_of("resnet50"), (64, 64)))
    assert found[:4] == ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.0"]
    assert len(found) == 1 + 3 * (3 + 4 + 6 + 3)


def test_sizes_are_those_of_the_maps_that_come_out() -> None:
    graph = trace(known.build("googlenet"), (97, 112))
    with torch.no_grad():
        outputs = graph.trunk(torch.zeros(2, 3, 97, 112))
    assert len(outputs) == len(graph.layers) == 57
    for layer, maps in zip(graph.layers, outputs, strict=True):
        assert maps.shape == (2, layer.maps, *layer.size)
        assert graph.layer(layer.name) is layer


def test_an_unknown_layer_is_a_key_error() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 2, 1)), (4, 4))
    with pytest.raises(KeyError):
        graph.layer("conv9")


class Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3)
        self.beside = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.first(x))
        return F.relu(self.second(x**2)), self.beside(x)


def test_a_layer_behind_an_impassable_operation_is_a_layer_and_the_reason_known() -> None:
    graph = trace(Squared(), (8, 8))
    assert names(graph) == ["first", "second", "beside"]
    assert graph.opaque == {"second": "pow"}
    assert receptive_field(graph, graph.layer("second")).size == (8, 8)  # who knows


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_net_that_cannot_be_traced_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^the net cannot be traced: \S"):
        trace(Decides(), (4, 4))


# --- what it computes -------------------------------------------------------------------------


class Shares(nn.Module):
    """Rectified in place, and the unrectified maps are a layer's own and used elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(x.clone())
        return self.relu(x) + y


def test_an_in_place_relu_does_not_overwrite_a_layer() -> None:
    """The first convolution's maps have another reader besides the ReLU: they are the layer."""
    net = Shares()
    graph = trace(net, (6, 6))
    images = noise(2, 3, 6, 6)
    with torch.no_grad():
        expected = net.first(images)
        outputs = dict(zip(names(graph), graph.trunk(images), strict=True))
    assert expected.min() < 0
    assert torch.equal(outputs["first"], expected)


class Dropped(nn.Module):
    """A ReLU behind a dropout, which at inference returns its input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.dropout = nn.Dropout()
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.relu(self.dropout(self.conv(x))))
        return out


def test_a_rectifier_behind_a_dropout_does_not_overwrite_a_layer() -> None:
    net = Dropped()
    graph = trace(net, (6, 6))
    images = noise(2, 3, 6, 6)
    with torch.no_grad():
        expected = net.conv(images)
        outputs = dict(zip(names(graph), graph.trunk(images), strict=True))
    assert expected.min() < 0
    assert torch.equal(outputs["conv"], expected)


def test_parameters_are_shared_and_the_net_is_put_into_inference_mode() -> None:
    net = known.build("resnet18").train()
    graph = trace(net, (64, 64))
    assert not net.training
    with torch.no_grad():
        net.conv1.weight.zero_()  # type: ignore[union-attr, operator]
        net.bn1.bias.fill_(3)  # type: ignore[union-attr, operator]
        (maps,) = graph.only(["conv1"]).trunk(noise(1, 3, 64, 64))
    torch.testing.assert_close(maps, torch.full_like(maps, 3))


def test_only_some_layers_run_only_what_they_need() -> None:
    graph = trace(known.build("resnet18"), (64, 64))
    some = graph.only(["layer2.0", "conv1"])
    assert names(some) == ["conv1", "layer2.0"]  # in the order of the net
    modules = {path for path, _ in some.trunk.named_modules()}
    assert "layer2.0.conv2" in modules
    assert not any(path.startswith(("layer2.1", "layer3", "fc")) for path in modules)
    assert len(list(some.trunk.parameters())) < len(list(graph.trunk.parameters()))
    images = noise(2, 3, 64, 64)
    with torch.no_grad():
        everything = dict(zip(names(graph), graph.trunk(images), strict=True))
        few = dict(zip(names(some), some.trunk(images), strict=True))
    assert all(torch.equal(few[name], everything[name]) for name in few)


@settings(max_examples=40, **SLOW)
@given(random_nets.cases(), st.data())
def test_tracing_and_choosing_layers_change_no_output(
    case: random_nets.Case, data: st.DataObject
) -> None:
    expected = {name: maps.detach() for name, maps in guided.layers(case.net, case.images).items()}
    given_images = case.images.clone()
    graph = trace(case.net, (case.images.shape[2], case.images.shape[3]))
    chosen = data.draw(st.lists(st.sampled_from(names(graph)), min_size=1))
    some = graph.only(chosen)
    assert names(some) == [name for name in names(graph) if name in chosen]
    with torch.no_grad():
        outputs = dict(zip(names(graph), graph.trunk(case.images), strict=True))
        few = dict(zip(names(some), some.trunk(case.images), strict=True))
    recorded = ascend(some, case.images).activations
    assert outputs.keys() == expected.keys()
    for name, maps in outputs.items():
        torch.testing.assert_close(maps, expected[name], rtol=1e-12, atol=1e-12)
    for name, maps in few.items():
        assert torch.equal(maps, outputs[name])
        assert torch.equal(recorded[name], outputs[name])
        assert receptive_field(some, some.layer(name)) == receptive_field(graph, graph.layer(name))
    assert torch.equal(case.images, given_images)  # the input is left alone


class Standardised(nn.Conv2d):
    """Weight standardisation: a convolution that is called as a function."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), 3 * weight, self.bias, self.stride)


class Own(nn.Module):
    """One of which the weights are its own, called with names."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(6, 2, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, weight=self.kernel, padding=1, groups=2)


def test_convolutions_called_as_functions_are_layers() -> None:
    torch.manual_seed(0)
    stem = nn.Sequential(Standardised(3, 4, 3, stride=2), nn.ReLU())
    net = nn.Sequential(stem, Own(), nn.ReLU()).eval()
    graph = trace(net, (20, 20))
    assert (names(graph), graph.left_out, graph.opaque) == (["0.0", "1"], {}, {})
    verify(net, graph, (20, 20))
    images = noise(2, 3, 20, 20)
    for maps, expected in zip(graph.trunk(images), (stem(images), net(images)), strict=True):
        torch.testing.assert_close(maps, expected)
    assert graph.trunk.get_parameter("1.weight") is net.get_parameter("1.kernel")
