"""Reduced precision: the stated formula in float64, how far it is off, and what it must show."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.graph.trace import trace
from pipeline.core.heaps import screening
from pipeline.core.heaps.peaks import Peaks
from pipeline.core.heaps.screening import IntegerConv, screened
from pipeline.core.nets import known
from pipeline.data.demo.images import draw
from pipeline.data.weights.load import load_net
from tests.core import random_nets

Floats = NDArray[np.float64]

SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck)}

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = Path("/proc/cpuinfo")
VNNI = CPU.is_file() and "vnni" in CPU.read_text()

needs_integers = pytest.mark.skipif(not VNNI, reason="the net is screened in bfloat16 here")


@dataclass(frozen=True)
class Case:
    """A convolution, maps for it, and whether they are known to be never below zero."""

    conv: nn.Conv2d
    maps: Tensor
    rectified: bool


def _pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    each = draw(st.sampled_from([1, 2, 3, 16, 20] if groups == 1 else [16, 20]))
    kernel, dilation = draw(_pairs(1, 4)), draw(_pairs(1, 2))
    reach = [(side - 1) * gap + 1 for side, gap in zip(kernel, dilation, strict=True)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw(st.integers(0, 2**16)))
        conv = nn.Conv2d(
            groups * each,
            groups * draw(st.integers(1, 5)),
            kernel,
            draw(_pairs(1, 3)),
            tuple(draw(st.integers(0, min(3, side - 1))) for side in reach),
            dilation,
            groups,
            draw(st.booleans()),
        )
        size = [side + draw(st.integers(0, 9)) for side in reach]
        maps = torch.randn(draw(st.integers(1, 3)), groups * each, *size)
        with torch.no_grad():
            conv.weight *= draw(st.sampled_from([1e-6, 1.0, 300.0]))
            if draw(st.booleans()):
                conv.weight[0] = 0
    kind = draw(st.sampled_from(["signed", "shifted", "unsigned", "rectified", "positive"]))
    maps = {
        "signed": maps, "shifted": maps - 3, "unsigned": maps.relu(), "rectified": maps.relu(),
        "positive": maps.abs() + 5,
    }[kind]  # fmt: skip
    maps = maps * draw(st.sampled_from([1e-5, 1.0, 1e4]))
    layout = draw(st.sampled_from([torch.contiguous_format, torch.channels_last]))
    return Case(
        conv.requires_grad_(False), maps.contiguous(memory_format=layout), kind == "rectified"
    )


def convolved(case: Case, weight: Floats, maps: Floats) -> Floats:
    """In float64, without a bias."""
    conv = case.conv
    assert not isinstance(conv.padding, str)
    made = F.conv2d(
        torch.from_numpy(maps), torch.from_numpy(weight), None, conv.stride, conv.padding,
        conv.dilation, conv.groups,
    )  # fmt: skip
    return made.numpy()


def is_column(made: Tensor) -> bool:
    return made.shape[3] == 1 < made.shape[2]


@dataclass(frozen=True)
class Rounded:
    """q_w, q_x - z and both scales, in float64; how near the closest one is to the next level."""

    weight: Floats
    maps: Floats
    weight_scale: Floats
    map_scale: float
    margin: float

    @classmethod
    def of(cls, case: Case) -> "Rounded":
        weight, maps = case.conv.weight.double().numpy(), case.maps.double().numpy()
        largest = np.abs(weight).max((1, 2, 3), keepdims=True)
        weight_scale = np.where(largest > 0, largest, 1) / 127
        low, high = min(maps.min(), 0.0), max(maps.max(), 0.0)
        map_scale = (high - low) / 254 or 1.0
        zero = np.round(-low / map_scale)
        exact = weight / weight_scale, maps / map_scale + zero
        margin = min(np.abs(one - np.floor(one) - 0.5).min() for one in exact)
        levels = np.floor(exact[1] + 0.5)
        assert levels.min() >= 0
        assert levels.max() <= 255
        return cls(np.round(exact[0]), levels - zero, weight_scale, map_scale, margin)


@needs_integers
@settings(max_examples=120, **SLOW)  # type: ignore[arg-type]
@given(cases())
def test_an_integer_convolution_is_what_it_says(case: Case) -> None:
    """s_w s_x (q_w * (q_x - z)) and the bias, to float32's last bits."""
    rounded = Rounded.of(case)
    assume(rounded.margin > 1e-4)  # else float32 and float64 may round to different levels
    assume(not is_column(case.conv(case.maps)))  # made in float32
    sums = convolved(case, rounded.weight, rounded.maps)
    scale = rounded.weight_scale.ravel()[:, None, None] * rounded.map_scale
    expected = sums * scale
    if case.conv.bias is not None:
        expected = expected + case.conv.bias.double().numpy()[:, None, None]
    found = IntegerConv(case.conv, rectified=case.rectified)(case.maps)
    assert found.dtype == torch.float32
    tolerance = 1e-5 * np.abs(expected).max() + 1e-6 * scale.max() * np.abs(sums).max()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)


@needs_integers
@settings(max_examples=120, **SLOW)  # type: ignore[arg-type]
@given(cases())
def test_its_error_is_that_of_both_roundings(case: Case) -> None:
    """At the most half a level of each weight and input, and their product.

    |w x - s_w q_w s_x (q_x - z)| <= |w| s_x / 2 + s_w / 2 |x| + s_w s_x / 4, summed over a filter;
    so no zero point, no padding and no saturated sum spoils anything.
    """
    assume(not is_column(case.conv(case.maps)))
    rounded = Rounded.of(case)
    weight, maps = case.conv.weight.double().numpy(), case.maps.double().numpy()
    half_w = np.broadcast_to(rounded.weight_scale / 2, weight.shape) * (weight != 0)
    half_x = np.full(maps.shape, rounded.map_scale / 2)
    bound = (
        convolved(case, np.abs(weight), half_x)
        + convolved(case, half_w, np.abs(maps))
        + convolved(case, half_w, half_x)
    )
    exact = convolved(case, weight, maps)
    if case.conv.bias is not None:
        exact = exact + case.conv.bias.double().numpy()[:, None, None]
    found = IntegerConv(case.conv, rectified=case.rectified)(case.maps).numpy()
    slack = 1e-5 * (np.abs(exact).max() + bound.max())
    assert (np.abs(found - exact) <= bound * (1 + 1e-3) + slack).all()


@needs_integers
@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("strides", [(1, 2), (2, 1), (3, 2), (2, 2)])
def test_maps_one_wide_are_made_in_float32(strides: tuple[int, int], channels: int) -> None:
    """Of these oneDNN skips rows, or reads others, mostly where the strides differ."""
    conv = nn.Conv2d(channels, 3, (3, 2), strides).requires_grad_(False)
    graph = trace(nn.Sequential(conv, nn.Flatten()), (9, 2), channels=channels)
    assert is_column(conv(torch.zeros(1, channels, 9, 2)))
    images = torch.randn(2, channels, 9, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(screened(graph)(images)[0], Peaks.of(graph)(images)[0])


@needs_integers
@pytest.mark.parametrize("side", [1, 3])
def test_the_largest_bytes_do_not_saturate(side: int) -> None:
    conv = nn.Conv2d(64, 16, side, bias=False).requires_grad_(False)
    nn.init.ones_(conv.weight)
    maps = torch.ones(2, 64, 9, 9)
    torch.testing.assert_close(IntegerConv(conv)(maps), conv(maps))
    torch.testing.assert_close(IntegerConv(conv)(-maps), conv(-maps))


@needs_integers
def test_windows_in_the_padding_alone() -> None:
    """oneDNN's integers crash there."""
    conv = nn.Conv2d(3, 4, (3, 1), stride=2, padding=(3, 1)).requires_grad_(False)
    graph = trace(nn.Sequential(conv, nn.ReLU()), (4, 1))
    assert isinstance(screened(graph).trunk.get_submodule("0"), nn.Conv2d)


@needs_integers
def test_one_channel_in() -> None:
    """oneDNN's integers skip rows where the maps that come out are one wide."""
    convs = nn.Conv2d(3, 1, 1), nn.Conv2d(1, 8, (1, 2), stride=(1, 2))
    net = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU()).requires_grad_(False)
    nn.init.constant_(convs[0].weight, 1.0)
    nn.init.constant_(convs[1].weight, 1.0)
    graph, images = trace(net, (7, 2)), torch.arange(126.0).view(3, 3, 7, 2)
    torch.testing.assert_close(
        screened(graph)(images)[0], Peaks.of(graph)(images)[0], rtol=0.02, atol=0
    )


@needs_integers
def test_they_are_used_where_they_are() -> None:
    graph = load_net("demo").net.graph
    found = [type(module) for module in screened(graph).trunk.trunk.modules()]
    assert found.count(IntegerConv) == 5
    assert nn.Conv2d not in found


WITHOUT_VNNI = """
import torch
from torch import nn
from pipeline.core.graph.trace import trace
from pipeline.core.heaps.peaks import Peaks
from pipeline.core.heaps.screening import screened
net = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 16, 3)).requires_grad_(False)
for weights in net.parameters():
    nn.init.ones_(weights)
graph, images = trace(net, (9, 9)), torch.rand(2, 3, 9, 9)
print(float((screened(graph)(images)[0] / Peaks.of(graph)(images)[0] - 1).abs().max()))
"""


def test_a_processor_without_vnni_is_noticed() -> None:
    """It adds pairs of products in 16 bits, and these saturate: the largest come out too small."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_VNNI],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 0.02


@needs_integers
def test_maps_of_zeros_give_the_bias() -> None:
    conv = nn.Conv2d(16, 3, 3, padding=1).requires_grad_(False)
    made = IntegerConv(conv)(torch.zeros(1, 16, 4, 4))
    assert conv.bias is not None
    assert torch.equal(made, conv.bias[:, None, None].expand(1, 3, 4, 4))


# --- what is not finite -----------------------------------------------------------------------


@needs_integers
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_input_that_is_not_finite_stays_so(
    value: float, layout: torch.memory_format, rectified: bool
) -> None:
    """What it touches is not finite in float32, and not here either."""
    if rectified and value == -torch.inf:
        pytest.skip("not rectified")
    conv = nn.Conv2d(16, 4, 3, padding=1).requires_grad_(False)
    maps = torch.rand(3, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    maps[1, 5, 3, 4] = value
    maps = maps.contiguous(memory_format=layout)
    touched = ~conv(maps).isfinite()
    assert touched.any()
    assert not IntegerConv(conv, rectified=rectified)(maps)[touched].isfinite().any()


@needs_integers
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["weight", "bias"])
def test_a_parameter_that_is_not_finite_stays_so(value: float, where: str) -> None:
    conv = nn.Conv2d(16, 4, 3, padding=1).requires_grad_(False)
    getattr(conv, where)[2] = value
    maps = torch.rand(3, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    made = IntegerConv(conv)(maps)
    assert not made[:, 2].isfinite().any()
    assert made[:, [0, 1, 3]].isfinite().all()


@pytest.mark.parametrize("integers", [True, False])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_net_that_is_not_finite_is_seen_to_be_so(
    value: float, integers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(integers, monkeypatch)
    net = known.build("demo").requires_grad_(False)
    net.features[3].bias[7] = value  # type: ignore[index, union-attr]
    graph = trace(net, (112, 112))
    values, _ = screened(graph)(torch.randn(2, 3, 112, 112))
    assert not values[:, 32 + 7].isfinite().any()
    assert values[:, :32].isfinite().all()


# --- whole nets -------------------------------------------------------------------------------


def choose(integers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers, or what a processor without them does."""
    if integers and not VNNI:
        pytest.skip("no VNNI here")
    monkeypatch.setattr(screening, "has_integers", lambda: integers)


@pytest.mark.parametrize("integers", [True, False])
@pytest.mark.parametrize("name", ["demo", "resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_the_exact_net_is_left_as_it_is(
    name: str, integers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(integers, monkeypatch)
    net = known.build(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random_nets.settle(net)
        images = torch.randn(2, 3, 96, 96)
    graph = trace(net, (96, 96))
    state = {key: kept.clone() for key, kept in graph.trunk.state_dict().items()}
    text = graph.trunk.code
    with torch.inference_mode():
        before = Peaks.of(graph)(images)
        near, _ = screened(graph)(images)
        after = Peaks.of(graph)(images)
    assert graph.trunk.code == text
    assert graph.trunk.state_dict().keys() == state.keys()
    assert all(torch.equal(kept, graph.trunk.state_dict()[key]) for key, kept in state.items())
    assert all(map(torch.equal, before, after))
    assert not torch.equal(near, before[0])  # something was in reduced precision
    correlation = np.corrcoef(near.ravel(), before[0].ravel())[0, 1]
    assert correlation > 0.99


@pytest.mark.parametrize("integers", [True, False])
@settings(max_examples=40, **SLOW)  # type: ignore[arg-type]
@given(case=random_nets.cases())
def test_any_net_can_be_screened(case: random_nets.Case, integers: bool) -> None:
    """Shapes and order are those of the exact peaks, and values are near them."""
    graph = trace(case.net.float(), (case.images.shape[2], case.images.shape[3]))
    with pytest.MonkeyPatch.context() as patched:
        choose(integers, patched)
        near = screened(graph)
    exact = Peaks.of(graph)
    assert torch.equal(near.bounds.low, exact.bounds.low)
    images = case.images.float()
    with torch.inference_mode():
        values, places = near(images)
        truth, _ = exact(images)
    assert values.dtype == torch.float32
    assert values.shape == truth.shape == places.shape
    first = 0
    for layer in graph.layers:
        some = slice(first, first := first + layer.maps)
        error = (values[:, some] - truth[:, some]).abs().max()
        with torch.inference_mode():
            span = max(float(maps.abs().max()) for maps in graph.trunk(images))
        assert error <= 0.25 * span + 1e-3


@pytest.mark.parametrize("integers", [True, False])
def test_real_pictures_are_ranked_nearly_alike(
    integers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trained net's errors are small beside how much its maps vary from picture to picture."""
    choose(integers, monkeypatch)
    net = load_net("demo").net
    with torch.inference_mode():
        pixels = [torch.from_numpy(np.asarray(draw(n, seed=5).image).copy()) for n in range(64)]
        images = torch.stack([net.preprocessing.prepare(one.permute(2, 0, 1)) for one in pixels])
        normalised = net.preprocessing.normalise(images)
        truth, near = Peaks.of(net.graph)(normalised)[0], screened(net.graph)(normalised)[0]
    spread = truth.std(0)
    error = (near - truth).square().mean(0).sqrt()
    ratio = (error / spread)[spread > 1e-3]
    print(f"error per spread: median {ratio.median():.4f}, 99 % {ratio.quantile(0.99):.4f}")
    assert ratio.median() < 0.05
    assert ratio.quantile(0.99) < 0.3


@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler (g++) here")
def test_compiled_is_what_it_is_without() -> None:
    net = load_net("demo", None).net
    plain = screening._in_bfloat16(Peaks.of(net.graph, screening._largest).trunk)
    images = torch.rand(3, 3, *net.preprocessing.input_size).bfloat16()
    compiled = screening.Compiled(plain)
    with torch.inference_mode():
        for (values, _), (expected, _) in zip(compiled(images), plain(images), strict=True):
            torch.testing.assert_close(values, expected, rtol=0.02, atol=0.02)
    assert compiled.work is not plain


def test_what_cannot_be_compiled_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def fail(images: Tensor) -> Tensor:
        tries.append(len(images))
        raise RuntimeError("Failed to find C compiler.\nand pages more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    compiled = screening.Compiled(nn.Identity())
    images = torch.ones(2)
    assert compiled(images) is images
    assert compiled(images) is images
    assert tries == [2]
    (said,) = caplog.messages
    assert "not compiled here (Failed to find C compiler); it takes longer." in said

    def cramped(images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "compile", lambda *_, **__: cramped)
    with pytest.raises(torch.OutOfMemoryError):  # the batches are halved then
        screening.Compiled(nn.Identity())(images)
