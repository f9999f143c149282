"""The way down through every kind of operation, against autograd through the net as written."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.trace import trace
from pipeline.core.graph.verify import verify
from pipeline.core.projection.ascent import ascend
from pipeline.core.projection.batch import Seeds
from pipeline.core.projection.deconvnet import project, project_on_windows
from tests.core.rules import Rules

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE, MAPS = 20, 8


class Net(nn.Module):
    """Two convolutions, and in between what is tried."""

    def __init__(self, between: "Between") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, MAPS, 3, padding=1), nn.LazyConv2d(6, 3, padding=1)
        self.between = between
        self.group = nn.GroupNorm(2, MAPS)
        self.instance = nn.InstanceNorm2d(MAPS, affine=True)
        self.layer = nn.LayerNorm(MAPS)
        self.running = nn.InstanceNorm2d(MAPS, affine=True, track_running_stats=True)
        self.widen, self.narrow = nn.Linear(MAPS, 2 * MAPS), nn.Linear(2 * MAPS, MAPS)
        self.up = nn.ConvTranspose2d(MAPS, 4, 3, stride=2, padding=1, output_padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.mirrored = nn.Conv2d(MAPS, MAPS, 5, padding=2, padding_mode="reflect")
        self.fc = nn.Linear(MAPS, MAPS)
        for norm in (self.group, self.instance, self.layer, self.running):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
        assert self.running.running_mean is not None
        assert self.running.running_var is not None
        self.running.running_mean.normal_()
        self.running.running_var.uniform_(0.5, 2)
        self.maps: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.maps = {"a": F.relu(self.a(x))}
        self.maps["b"] = F.relu(self.b(self.between(self, self.maps["a"])))
        return self.maps["b"]


Between = Callable[[Net, Tensor], Tensor]


def convnext(net: Net, x: Tensor) -> Tensor:
    y = net.layer(x.permute(0, 2, 3, 1))
    return x + net.narrow(F.gelu(net.widen(y))).permute(0, 3, 1, 2)


def channel_shuffle(net: Net, x: Tensor) -> Tensor:
    n, c, h, w = x.size()
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def squeeze_excite(net: Net, x: Tensor) -> Tensor:
    n, c, _, _ = x.size()
    gate = torch.sigmoid(net.fc(F.adaptive_avg_pool2d(x, 1).view(n, c)))
    return x * gate.detach().view(n, c, 1, 1).expand_as(x)


def by_hand(net: Net, x: Tensor) -> Tensor:
    spread = x.detach().pow(2).mean(1, keepdim=True)
    return x / (1 + spread).pow(0.75)


def along_the_sides(net: Net, x: Tensor) -> Tensor:
    rows, columns = (x.detach().mean(axis, keepdim=True).sigmoid() for axis in (2, 3))
    return x * rows * columns


LOCAL: dict[str, Between] = {
    "group norm": lambda net, x: net.group(x),
    "group norm called": lambda net, x: F.group_norm(x, 4, eps=0.1),
    "instance norm": lambda net, x: net.instance(x),
    "instance norm called": lambda net, x: F.instance_norm(x),
    "instance norm by running statistics": lambda net, x: net.running(x),
    "batch norm called": lambda net, x: F.batch_norm(
        x, net.running.running_mean, net.running.running_var, net.running.weight
    ),
    "branches in a stack": lambda net, x: torch.stack(
        [F.relu(F.batch_norm(x, net.running.running_mean, net.running.running_var)), F.relu(3 * x)]
    ).sum(0),
    "channel shuffle": channel_shuffle,
    "channel shuffle called": lambda net, x: F.channel_shuffle(x, 4),
    "maps in another order": lambda net, x: x.flip(1)[:, ::2],
    "squeeze and excitation": squeeze_excite,
    "mask": lambda net, x: x * torch.sigmoid(x.detach()[:, :1]),
    "product": lambda net, x: x * x.roll(1, 1),
    "response norm by hand": by_hand,
    "gates along the sides": along_the_sides,
    "pool of even size": lambda net, x: F.adaptive_avg_pool2d(x, 10),
    "maximum of even size": lambda net, x: F.adaptive_max_pool2d(x, (5, 10)),
}
WHOLE: dict[str, Between] = {
    "layer norm": lambda net, x: net.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "convnext": convnext,
    "nearest": lambda net, x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda net, x: F.interpolate(x, size=(31, 13), mode="bilinear"),
    "transposed convolution": lambda net, x: net.up(x),
    "pixel shuffle": lambda net, x: net.shuffle(x),
    "pool": lambda net, x: F.adaptive_avg_pool2d(x, (7, 3)),
    "maximum": lambda net, x: F.adaptive_max_pool2d(x, (7, 3)),
    "mirrored border": lambda net, x: net.mirrored(x),
    "replicated border": lambda net, x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
    "places": lambda net, x: x[:, :, 1::2, 3:],
    "more maps": lambda net, x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)),
    "with itself": lambda net, x: torch.cat([x, x + x], 1),
    "on top of each other": lambda net, x: torch.cat([x, x[:, :, :3]], 2),
    "mean beside": lambda net, x: x + x.mean((2, 3), keepdim=True),
    "mean of means": lambda net, x: x + x.mean((2, 3), keepdim=True).mean(1, keepdim=True),
}


def of_kind(name: str) -> Net:
    net = Net({**LOCAL, **WHOLE}[name]).double().eval()
    with torch.no_grad():
        net(torch.zeros(1, 3, SIDE, SIDE, dtype=torch.float64))
    return net


@pytest.mark.parametrize("name", [*LOCAL, *WHOLE])
def test_projections(name: str) -> None:
    net = of_kind(name)
    graph = trace(net, (SIDE, SIDE))
    layers = {layer.name: layer for layer in graph.layers}
    assert {"a", "b"} <= layers.keys()
    assert not graph.opaque
    verify(net, graph, (SIDE, SIDE))
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    images.requires_grad_()
    with Rules():
        maps = net(images)
    ascent = ascend(graph, images.detach())
    torch.testing.assert_close(ascent.activations["b"], maps.detach(), rtol=1e-12, atol=1e-12)
    width = maps.shape[3]
    strongest = maps.detach().flatten(2).argmax(2).flatten()
    image, feature_map = (of.flatten() for of in torch.meshgrid(
        torch.arange(2), torch.arange(6), indexing="ij"
    ))  # fmt: skip
    seeds = Seeds(image, feature_map, strongest // width, strongest % width)
    boxes = receptive_field(graph, layers["b"]).boxes(
        seeds.y.numpy(), seeds.x.numpy(), (SIDE, SIDE)
    )
    for number, found in enumerate(project(graph, layers["b"], ascent, seeds)):
        at = [int(of[number]) for of in (image, feature_map, seeds.y, seeds.x)]
        seed = torch.zeros_like(maps)
        seed[*at] = maps.detach()[*at]
        (expected,) = torch.autograd.grad(maps, images, seed, retain_graph=True)
        top, left, bottom, right = boxes[number].tolist()
        whole = torch.zeros(3, SIDE, SIDE, dtype=torch.float64)
        whole[:, top:bottom, left:right] = found
        torch.testing.assert_close(whole, expected[at[0]], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", WHOLE)
def test_a_position_sees_no_more_than_it_must(name: str) -> None:
    """The box of a position, against where the gradient of random maps is not zero."""
    net = of_kind(name)
    graph = trace(net, (SIDE, SIDE))
    layer = graph.layer("b")
    height, width = layer.size
    field = receptive_field(graph, layer)
    for y, x in ((0, 0), (height // 2, width // 3), (height - 1, width - 1)):
        seen = torch.zeros(SIDE, SIDE)
        for seed in range(12):  # a maximum shows one place at a time
            generator = torch.Generator().manual_seed(seed)
            image = torch.randn(1, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
            image.requires_grad_()
            value = net.b(net.between(net, net.a(image)))[0, :, y, x]
            (gradient,) = torch.autograd.grad(value.sum(), image)
            seen += gradient[0].abs().sum(0)
        rows, columns = seen.sum(1).nonzero()[:, 0], seen.sum(0).nonzero()[:, 0]
        expected = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        found = field.boxes(*(torch.tensor([at]).numpy() for at in (y, x)), (SIDE, SIDE))[0]
        assert found.tolist() == [int(side) for side in expected], (y, x)


def test_a_swish_written_out_is_one() -> None:
    """On whole maps and on windows; the layer is what it returns."""

    class Written(nn.Module):
        def __init__(self, swish: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2)
            self.swish = swish

        def forward(self, x: Tensor) -> Tensor:
            return self.swish(self.b(self.swish(self.a(x))))

    generator = torch.Generator().manual_seed(1)
    images = torch.randn(1, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    seeds = Seeds.at(3, 2, 4, images.device)
    made = []
    for swish in (F.silu, lambda x: x * torch.sigmoid(x), lambda x: torch.sigmoid(x) * x):
        graph = trace(Written(swish).double(), (SIDE, SIDE))
        assert [layer.name for layer in graph.layers] == ["a", "b"]
        ascent = ascend(graph, images)
        made.append(project(graph, graph.layer("b"), ascent, seeds)[0])
        values, (on_windows,) = project_on_windows(graph, graph.layer("b"), images, seeds)
        torch.testing.assert_close(values, ascent.at("b", seeds))
        torch.testing.assert_close(on_windows, made[-1])
    for other in made[1:]:
        torch.testing.assert_close(other, made[0])
