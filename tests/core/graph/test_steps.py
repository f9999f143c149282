"""What kind of step each operation of a net is, and its geometry."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pipeline.core.graph.classify import classify
from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.spelling import Spelling
from pipeline.core.graph.steps import (
    AdaptiveMax,
    Add,
    AvgPool,
    Concat,
    Conv,
    Gate,
    GlobalPool,
    Kernel,
    Linear,
    MaxPool,
    Op,
    Opaque,
    Pass,
    Product,
    Rectify,
    Scale,
)
from pipeline.core.graph.trace import trace


class Does(nn.Module):
    """A net whose forward pass is one function of two maps."""

    def __init__(self, does: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.does = does

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.does(x, y)


SHAPE = (4, 9, 9)


def of_module(module: nn.Module) -> Op:
    net = nn.Sequential(module)
    traced = fx.symbolic_trace(net)
    node = next(node for node in traced.graph.nodes if node.op == "call_module")
    made = net(torch.zeros(1, *SHAPE))[0].shape
    shapes = {"input_1": SHAPE, node.name: (made[0], made[1], made[2])}
    return classify(node, Spelling(dict(net.named_modules()), {}), shapes)


def of_function(does: Callable[[Tensor, Tensor], Tensor], y: tuple[int, int, int] = SHAPE) -> Op:
    traced = fx.symbolic_trace(Does(does))
    *_, node, _ = traced.graph.nodes
    return classify(node, Spelling({}, {}), {"x": SHAPE, "y": y, node.name: SHAPE})


CONVS = [
    (nn.Conv2d(4, 4, 3), Kernel((3, 3))),
    (nn.Conv2d(4, 4, (3, 1), (2, 1), (1, 0), (1, 2)), Kernel((3, 1), (2, 1), (1, 0), (1, 2))),
    (nn.Conv2d(4, 4, 5, padding="valid"), Kernel((5, 5))),
    (nn.Conv2d(4, 4, (5, 3), padding="same"), Kernel((5, 3), padding=(2, 1))),
    (nn.Conv2d(4, 4, 3, padding="same", dilation=2), Kernel((3, 3), (1, 1), (2, 2), (2, 2))),
]


@pytest.mark.parametrize(("module", "kernel"), CONVS)
def test_the_kernel_of_a_convolution(module: nn.Conv2d, kernel: Kernel) -> None:
    op = of_module(module)
    assert op == Conv(module, kernel)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("size", [1, 2, 3, 4, (2, 5)])
def test_same_padding_starts_where_torch_starts(size: int | tuple[int, int]) -> None:
    conv = nn.Conv2d(3, 1, size, padding="same", bias=False, dilation=3)
    nn.init.ones_(conv.weight)
    images = torch.zeros(1, 3, 15, 15, requires_grad=True)
    conv(images)[0, 0, 7, 7].backward()
    assert images.grad is not None
    rows, columns = (images.grad[0, 0].sum(axis).nonzero()[:, 0] for axis in (1, 0))
    graph = trace(nn.Sequential(conv, nn.ReLU()), (15, 15))
    field = receptive_field(graph, graph.layers[0])
    assert (7 + field.start[0], 7 + field.start[1]) == (rows[0], columns[0])
    assert field.size == (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)


POOLS: list[tuple[Op, Op]] = [
    (of_module(nn.MaxPool2d(3)), MaxPool(Kernel((3, 3), (3, 3)), False)),
    (
        of_module(nn.MaxPool2d((3, 2), (2, 1), (1, 0), 2, ceil_mode=True)),
        MaxPool(Kernel((3, 2), (2, 1), (1, 0), (2, 2)), True),
    ),
    (
        of_function(lambda x, y: F.max_pool2d(x, 3)),
        MaxPool(Kernel((3, 3), (3, 3)), False),
    ),
    (
        of_function(lambda x, y: F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)),
        MaxPool(Kernel((3, 3), (2, 2)), True),
    ),
    (
        of_function(lambda x, y: torch.max_pool2d(x, 3, 2, 1, 2, True)),
        MaxPool(Kernel((3, 3), (2, 2), (1, 1), (2, 2)), True),
    ),
    (of_module(nn.AvgPool2d(2)), AvgPool(Kernel((2, 2), (2, 2)), False, True, None)),
    (
        of_module(nn.AvgPool2d((3, 2), 1, 1, True, False, 5)),
        AvgPool(Kernel((3, 2), (1, 1), (1, 1)), True, False, 5),
    ),
    (
        of_function(lambda x, y: F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)),
        AvgPool(Kernel((3, 3), (1, 1), (1, 1)), False, True, None),
    ),
    (
        of_function(lambda x, y: F.avg_pool2d(x, 2, None, 0, True, False, 3)),
        AvgPool(Kernel((2, 2), (2, 2)), True, False, 3),
    ),
    (of_module(nn.AdaptiveAvgPool2d(1)), GlobalPool()),
    (of_module(nn.AdaptiveAvgPool2d(3)), AvgPool(Kernel((3, 3), (3, 3)), False, True, None)),
    (of_module(nn.AdaptiveMaxPool2d((9, 3))), MaxPool(Kernel((1, 3), (1, 3)), False)),
    (of_module(nn.AdaptiveMaxPool2d((4, 3))), AdaptiveMax((4, 3))),
    (of_module(nn.AdaptiveAvgPool2d((1, 1))), GlobalPool()),
]


@pytest.mark.parametrize(("found", "expected"), POOLS)
def test_the_geometry_of_a_pool(found: Op, expected: Op) -> None:
    assert found == expected


@pytest.mark.parametrize(
    "module", [nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.GELU(), nn.Hardswish(), nn.ELU(), nn.Mish()]
)
def test_rectifying_modules(module: nn.Module) -> None:
    assert of_module(module) == Rectify()


@pytest.mark.parametrize("does", [F.relu, F.relu6, F.silu, F.hardswish, torch.relu])
def test_rectifying_functions(does: Callable[[Tensor], Tensor]) -> None:
    assert of_function(lambda x, y: does(x)) == Rectify()


def test_rectifying_methods() -> None:
    assert of_function(lambda x, y: x.relu()) == Rectify()
    assert of_function(lambda x, y: x.clamp(min=0)) == Rectify()
    assert of_function(lambda x, y: x.clamp(-1, 1)) == Pass()


@pytest.mark.parametrize("module", [nn.Dropout(), nn.Identity(), nn.LocalResponseNorm(5)])
def test_what_passes_unchanged(module: nn.Module) -> None:
    assert of_module(module) == Pass()


def test_sums_concatenations_and_gates() -> None:
    assert of_function(lambda x, y: x + y) == Add()
    assert of_function(torch.add) == Add()
    assert of_function(lambda x, y: torch.add(x, y, alpha=2)) == Add((1.0, 2.0))
    assert of_function(lambda x, y: x - y) == Add((1.0, -1.0))
    assert of_function(lambda x, y: torch.cat([x, y], 1)) == Concat()
    assert of_function(lambda x, y: torch.cat((x, y), dim=1)) == Concat()
    assert of_function(lambda x, y: x * y, (4, 1, 1)) == Gate(scaled=0)
    assert of_function(lambda x, y: y * x, (4, 1, 1)) == Gate(scaled=1)


def test_constants_scale_and_shift() -> None:
    assert of_function(lambda x, y: x + 1) == of_function(lambda x, y: x - 1) == Pass()
    assert of_function(lambda x, y: 2 * x) == Scale(2)
    assert of_function(lambda x, y: x / 2) == Scale(0.5)
    assert of_function(lambda x, y: 1 - x) == Scale(-1.0)


def test_gates_are_spread_over_what_they_scale_or_squashed() -> None:
    assert of_function(lambda x, y: x * y, (1, 9, 9)) == Gate(scaled=0)
    assert of_function(lambda x, y: x * y) == Product()
    assert of_function(lambda x, y: x / y) == Gate(scaled=0, divides=True)


LINEAR: dict[str, Op] = {
    "sum of one and itself": of_function(lambda x, y: x + x),
    "sum that broadcasts": of_function(lambda x, y: x + y, (4, 1, 1)),
    "concatenation along the rows": of_function(lambda x, y: torch.cat([x, y], 2)),
    "concatenation with itself": of_function(lambda x, y: torch.cat([x, y, x], 1)),
    "upsampling": of_function(lambda x, y: F.interpolate(x, scale_factor=2)),
    "uneven adaptive pool": of_module(nn.AdaptiveAvgPool2d(4)),
    "transposed convolution": of_module(nn.ConvTranspose2d(4, 4, 2)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_other_linear_operations(name: str) -> None:
    assert LINEAR[name] == Linear()


OPAQUE: dict[str, Op] = {
    "normalisation by the batch": of_module(nn.BatchNorm2d(4, track_running_stats=False)),
    "inverse": of_function(lambda x, y: 1 / x),
    "maximum": of_function(torch.maximum),
    "square": of_function(lambda x, y: x**2),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_the_deconvnet_cannot_pass_is_opaque(name: str) -> None:
    assert isinstance(OPAQUE[name], Opaque)
