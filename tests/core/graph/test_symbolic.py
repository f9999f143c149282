"""That a traced net means what the net's own forward pass means, however it is written."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from pipeline.core.graph.symbolic import symbolic
from pipeline.core.graph.trace import trace
from pipeline.core.graph.verify import verify
from pipeline.core.projection.clipping import Clipping
from pipeline.core.projection.deconvnet import Seeds, ascend, project, project_on_windows
from tests.core.rules import Rules

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 24


class Net(nn.Module):
    """Three convolutions, of which the last two see what is done with the one before.

    It notes its layers' maps as it makes them.
    """

    def __init__(self, does: "Does") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b, self.c = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.does, self.maps = does, {}
        self.relu, self.prelu = nn.ReLU(inplace=True), nn.PReLU(6)
        self.gamma = nn.Parameter(torch.rand(1, 6, 1, 1) + 0.5)
        self.norm = FrozenBatchNorm2d(6)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.norm.weight.uniform_(0.5, 2)
        self.norm.bias.normal_()

    def forward(self, x: Tensor, factor: float = 1.0, mask: Tensor | None = None) -> Tensor:
        assert x.shape[1] == 3, "colours"
        if mask is not None:
            x = x * mask
        self.maps = {}
        before = self.does(self, x.to(self.gamma.dtype) * factor)
        made = self.maps["c"] = F.relu(self.c(before))
        return made.mean((2, 3))


Does = Callable[[Net, Tensor], Tensor]


def noted(net: Net, **maps: Tensor) -> Tensor:
    """Note what layers return; the last one goes on."""
    net.maps.update(maps)
    return list(maps.values())[-1]


def through(rectify: Callable[[Net, Tensor], Tensor]) -> Does:
    """A net that rectifies in some way."""

    def does(net: Net, x: Tensor) -> Tensor:
        return noted(net, b=rectify(net, net.b(noted(net, a=rectify(net, net.a(x))))))

    return does


def read_again(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    a = net.relu(y)
    return noted(net, a=a, b=F.relu(net.b(a) + y))  # y has been overwritten


def unused_result(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    F.relu_(y)
    z = net.b(noted(net, a=y))
    F.leaky_relu(z, 0.1, inplace=True)
    return noted(net, b=z)


def added_in_place(net: Net, x: Tensor) -> Tensor:
    y = noted(net, a=F.relu(net.a(x)))
    z = net.b(y)
    z.add_(y)
    z += 0.5
    return noted(net, b=F.relu(z))


def read_before_and_after(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    linear = noted(net, a=y.clone()) * 0.5
    y.relu_()
    return noted(net, b=F.relu(net.b(y) + linear))


def alias_overwritten(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    noted(net, a=y.clone())
    same = F.dropout(y, 0.5, net.training)  # which is y itself
    same.mul_(2)
    same.relu_()
    return noted(net, b=F.relu(net.b(same) - y))


def scaled(net: Net, x: Tensor) -> Tensor:
    y = noted(net, a=F.relu(net.a(x) * net.gamma))
    return noted(net, b=F.relu(0.2 * net.b(y) + y))


def frozen(net: Net, x: Tensor) -> Tensor:
    return noted(net, b=F.relu(net.norm(net.b(noted(net, a=F.relu(net.norm(net.a(x))))))))


def normalised_inside(net: Net, x: Tensor) -> Tensor:
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
    x = (x - mean[:, None, None].to(x.dtype)) / std[:, None, None].to(x.dtype)
    return noted(net, b=F.relu(net.b(noted(net, a=F.relu(net.a(1 - x))))))


def unlike_sums(net: Net, x: Tensor) -> Tensor:
    y = noted(net, a=F.relu(net.a(x)))
    return noted(net, b=F.relu(torch.sub(torch.add(net.b(y), y, alpha=0.3), y.contiguous().to(y))))


def gated(net: Net, x: Tensor) -> Tensor:
    y = noted(net, a=F.relu(net.a(x)))
    gate = torch.sigmoid(F.adaptive_avg_pool2d(y, 1))
    return noted(net, b=F.relu(net.b(y * gate.detach().expand_as(y))))


def in_pieces(net: Net, x: Tensor) -> Tensor:
    left, right = noted(net, a=F.relu(net.a(x))).chunk(2, 1)
    b = noted(net, b=net.b(torch.cat([right, left], 1)))
    first, *others = torch.split(b, [1, 2, 3], dim=1)
    b = torch.cat([first, *others], 1).relu()
    return torch.cat([b[:, 2:], b[:, :2]], 1)


def padded(net: Net, x: Tensor) -> Tensor:
    y = F.pad(noted(net, a=F.relu(net.a(x))), (0, 1, 0, 1), value=0.3)
    return noted(net, b=F.relu(net.b(F.max_pool2d(y, 2, 1))))


NETS: dict[str, Does] = {
    "read again": read_again,
    "result not used": unused_result,
    "added in place": added_in_place,
    "read before and after": read_before_and_after,
    "alias overwritten": alias_overwritten,
    "scaled": scaled,
    "frozen normalisation": frozen,
    "normalised inside": normalised_inside,
    "other sums": unlike_sums,
    "gated": gated,
    "in pieces": in_pieces,
    "padded": padded,
    "relu method": through(lambda _, x: x.relu()),
    "relu method in place": through(lambda _, x: x.relu_()),
    "module in place": through(lambda net, x: net.relu(x)),
    "leaky": through(lambda _, x: F.leaky_relu(x, 0.1)),
    "leaky in place": through(lambda _, x: F.leaky_relu_(x, 0.1)),
    "parametric": through(lambda net, x: net.prelu(x)),
    "elu": through(lambda _, x: F.elu(x)),
    "celu": through(lambda _, x: F.celu(x)),
    "selu": through(lambda _, x: F.selu(x)),
    "gelu": through(lambda _, x: F.gelu(x)),
    "silu": through(lambda _, x: F.silu(x)),
    "mish": through(lambda _, x: F.mish(x)),
    "softplus": through(lambda _, x: F.softplus(x)),
    "hardswish": through(lambda _, x: F.hardswish(x)),
    "relu6": through(lambda _, x: F.relu6(x)),
    "clamp": through(lambda _, x: x.clamp(min=0)),
    "clamp in place": through(lambda _, x: x.clamp_(0, 0.3)),
    "clamp below zero": through(lambda _, x: torch.clamp(x, -0.2, 0.3)),
    "clamp_min": through(lambda _, x: torch.clamp_min(x, 0)),
    "hardtanh": through(lambda _, x: F.hardtanh(x)),
    "hardtanh in place": through(lambda _, x: F.hardtanh_(x, 0.0, 2.0)),
    "tanh": through(lambda _, x: torch.tanh(x)),
}


def layers_of(net: Net, images: Tensor) -> dict[str, Tensor]:
    """The net's maps, from its own forward pass, for the way down by autograd."""
    with Rules():
        net(images)
    return {name: maps.clone() for name, maps in net.maps.items()}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> Net:
    return Net(NETS[request.param]).double().eval()


def noise(count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)


def test_activations(net: Net) -> None:
    graph = trace(net, (SIDE, SIDE))
    assert [layer.name for layer in graph.layers] == ["a", "b", "c"]
    assert not graph.opaque
    verify(net, graph, (SIDE, SIDE))
    images = noise()
    with torch.no_grad():
        net(images)
        expected = {name: maps.clone() for name, maps in net.maps.items()}
        for layer, maps in zip(graph.layers, graph.trunk(images.clone()), strict=True):
            assert torch.equal(maps, expected[layer.name]), layer.name


def test_projections(net: Net) -> None:
    graph = trace(net, (SIDE, SIDE))
    images = noise().requires_grad_()
    maps = layers_of(net, images)
    ascent = ascend(graph, images.detach())
    for layer in graph.layers:
        strongest = maps[layer.name].detach().flatten(2).argmax(2)  # (N, C)
        image, feature_map = (part.flatten() for part in torch.meshgrid(
            torch.arange(2), torch.arange(6), indexing="ij"
        ))  # fmt: skip
        place = strongest[image, feature_map]
        seeds = Seeds(image, feature_map, place // SIDE, place % SIDE)
        whole = project(graph, layer, ascent, seeds)
        windows = whole
        if Clipping(graph, layer).is_local:
            values, windows = project_on_windows(graph, layer, images.detach(), seeds)
            torch.testing.assert_close(values, ascent.at(layer.name, seeds), rtol=1e-9, atol=1e-12)
        for number in range(len(seeds)):
            at = [int(part[number]) for part in (image, feature_map, seeds.y, seeds.x)]
            value = maps[layer.name][*at]
            seed = torch.zeros_like(maps[layer.name])
            seed[*at] = value.detach()
            (down,) = torch.autograd.grad(maps[layer.name], images, seed, retain_graph=True)
            top, left = max(0, at[2] - reach(layer.name)), max(0, at[3] - reach(layer.name))
            expected = down[at[0], :, top:, left:]
            for found in (whole[number], windows[number]):
                height, width = found.shape[1:]
                torch.testing.assert_close(
                    found, expected[:, :height, :width], rtol=1e-9, atol=1e-12
                )
                assert float(down[at[0]].abs().sum()) == pytest.approx(float(found.abs().sum()))


def reach(layer: str) -> int:
    """How far a position sees in each direction."""
    return {"a": 1, "b": 2, "c": 3}[layer]


# --- what cannot be followed ------------------------------------------------------------------


def by_values(net: Net, x: Tensor) -> Tensor:
    return net.b(net.a(x)) if x.mean() > 0 else net.a(x)


def into_a_part(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    y[:, 0].mul_(2)
    return net.b(y)


def by_a_number(net: Net, x: Tensor) -> Tensor:
    return net.b(net.a(x) * float(x.amax()))


def of_another_size(net: Net, x: Tensor) -> Tensor:
    if x.shape[2] != 7:
        raise NotImplementedError
    return net.b(net.a(x))


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (by_values, r"control flow \(test_symbolic.py, line \d+: return net.b\(net.a\(x\)\) if"),
        (
            into_a_part,
            r"mul_ writes into a part of a tensor \(test_symbolic.py, line",
        ),
        (by_a_number, "cannot be traced"),
        (of_another_size, r"traced: NotImplementedError \(test_symbolic.py, line \d+: raise"),
    ],
)
def test_what_cannot_be_followed_is_named_with_its_line(does: Does, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        symbolic(Net(does), (SIDE, SIDE))


def test_a_net_of_two_inputs_is_named() -> None:
    class Two(nn.Module):
        def forward(self, image: Tensor, depth: Tensor) -> Tensor:
            return image + depth

    with pytest.raises(ValueError, match="takes more than a picture: depth"):
        symbolic(Two(), (SIDE, SIDE))


def test_a_hook_that_changes_what_a_module_returns_is_noticed() -> None:
    net = Net(scaled)
    graph = trace(net, (SIDE, SIDE))
    net.b.register_forward_hook(lambda *_: None)  # harmless
    verify(net, graph, (SIDE, SIDE))
    net.register_forward_hook(lambda _, __, made: made * 2)
    with pytest.raises(ValueError, match="the net itself returns something else"):
        verify(net, graph, (SIDE, SIDE))


def test_the_net_itself_stays_as_it_is() -> None:
    net = Net(read_again)
    symbolic(net, (SIDE, SIDE))
    assert net.relu.inplace


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
def test_a_name_that_no_code_can_spell_is_refused(name: str) -> None:
    net = nn.Sequential(OrderedDict([(name, nn.Conv2d(3, 4, 3)), ("relu", nn.ReLU())]))
    with pytest.raises(ValueError, match="rename it"):
        symbolic(net, (8, 8))


def test_a_name_with_other_signs_is_kept() -> None:
    names = ["a/b", "a%2Fb", "ü ?&=#'<script>", "tab\there"]
    net = nn.Sequential(OrderedDict((name, nn.Conv2d(3, 3, 3)) for name in names))
    assert set(names) <= set(symbolic(net, (12, 12)).returned)
