"""The peaks of every layer against its whole maps; nothing on the way asks a GPU for a value."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from pipeline.core.graph.trace import Graph, trace
from pipeline.core.heaps import screening
from pipeline.core.heaps.peaks import Find, Peaks
from pipeline.core.heaps.topk import Heaps, strongest
from pipeline.core.nets import known
from tests.core import random_nets

pytestmark = pytest.mark.usefixtures("one_thread")

Floats = NDArray[np.float64]


def whole_maps(graph: Graph, images: Tensor) -> list[tuple[Floats, Floats, tuple[float, float]]]:
    """Of each layer its maps, what they are before a ReLU or ReLU6 that ends it, and its bounds."""
    before: dict[str, Tensor] = {}
    bounds: dict[str, tuple[float, float]] = {}

    class Watcher(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            is_module = n.op == "call_module"
            module = self.module.get_submodule(n.target) if is_module else None
            if n.target is F.relu or isinstance(module, nn.ReLU6):
                before[n.name] = self.env[n.args[0]].clone()  # it may be overwritten
                bounds[n.name] = (0, torch.inf if n.target is F.relu else 6)
            return super().run_node(n)

    with torch.no_grad():
        maps = Watcher(graph.trunk).run(images)
    return [
        (
            made.numpy(),
            before.get(layer.step, made).numpy(),
            bounds.get(layer.step, (-torch.inf, torch.inf)),
        )
        for layer, made in zip(graph.layers, maps, strict=True)
    ]


def assert_peaks_of_whole_maps(graph: Graph, images: Tensor) -> None:
    peaks = Peaks.of(graph)
    with torch.no_grad():
        values, places = (found.numpy() for found in peaks(images))
    assert values.dtype == np.float32
    first = 0
    for maps, before, (low, high) in whole_maps(graph, images):
        some = slice(first, first := first + maps.shape[1])
        flat, ranked = (of.reshape(*of.shape[:2], -1) for of in (maps, before))
        assert (peaks.bounds.low[some] == low).all()
        assert (peaks.bounds.high[some] == high).all()
        np.testing.assert_array_equal(values[:, some], before.max((2, 3)).astype(np.float32))
        positive = flat.max(2) > 0
        np.testing.assert_array_equal(values[:, some] > 0, positive)
        activations = values[:, some].clip(low, high)
        np.testing.assert_array_equal(activations[positive], flat.max(2)[positive])
        # numpy's argmax is the first one in row-major order
        np.testing.assert_array_equal(places[:, some][positive], ranked.argmax(2)[positive])
    assert first == values.shape[1] == len(peaks.bounds)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_nets.cases(), st.booleans())
def test_peaks_are_those_of_the_whole_maps(case: random_nets.Case, coarse: bool) -> None:
    """In any net; where everything is a small whole number, most maps have several peaks."""
    net, images = case.net.float(), case.images.float()
    if coarse:
        images = images.round()
        with torch.no_grad():
            for weights in net.parameters():
                weights.mul_(2).round_()
    graph = trace(net, (images.shape[2], images.shape[3]))
    with torch.no_grad():
        maps = [made.clone() for made in graph.trunk(images)]
    assert_peaks_of_whole_maps(graph, images)
    with torch.no_grad():
        assert all(map(torch.equal, graph.trunk(images), maps))  # the net is what it was


@pytest.mark.parametrize(
    ("name", "all_rectified"),
    [
        ("demo", True),
        ("alexnet", True),
        ("resnet18", True),  # both branches of a block end in one ReLU
        ("squeezenet1_1", True),
        ("densenet121", False),  # normalised before its convolutions
        ("efficientnet_b0", False),  # SiLU, and projections that are not rectified
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_of_known_nets(name: str, all_rectified: bool, layout: torch.memory_format) -> None:
    net = known.build(name).eval().to(memory_format=layout)  # type: ignore[call-overload]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random_nets.settle(net)
        images = torch.randn(2, 3, 96, 96).contiguous(memory_format=layout)
    graph = trace(net, (96, 96))
    assert bool((Peaks.of(graph).bounds.low == 0).all()) == all_rectified
    assert_peaks_of_whole_maps(graph, images)


# --- nothing waits for a GPU ------------------------------------------------------------------


META = torch.device("meta")


def pass_on(bits: torch.dtype, find: Find) -> Heaps:
    """A few batches through a net and into heaps, of tensors that have no values to look at."""
    with META:
        norm = nn.BatchNorm2d(5, dtype=bits)
        first, second = nn.Conv2d(3, 5, 3, dtype=bits), nn.Conv2d(5, 4, 1, dtype=bits)
        graph = trace(nn.Sequential(first, norm, nn.ReLU(), second), (12, 12))
    peaks = Peaks.of(graph, find)
    with META, torch.inference_mode():
        heaps = Heaps.empty(peaks.bounds.to(META), 3)
        for number in (0, 6):
            values, places = peaks(torch.zeros(6, 3, 12, 12))
            heaps.add(values[:5], places[:5], torch.arange(number, number + 5))
    return heaps


@pytest.mark.parametrize(
    ("bits", "find"),
    [(torch.float32, strongest), (torch.bfloat16, screening._largest)],
    ids=["exact", "screening"],
)
def test_nothing_waits_for_a_gpu(bits: torch.dtype, find: Find) -> None:
    """Whatever has to know a value, or how many there are, is an error."""
    heaps = pass_on(bits, find)
    assert heaps.values.is_meta
    assert heaps.values.shape == (9, 3)
    assert heaps.images == 10


@pytest.mark.parametrize(
    "look",
    [
        lambda heaps: heaps.finite,
        lambda heaps: heaps.active.nonzero(),
        lambda heaps: heaps.active.cpu(),
    ],
    ids=["a value", "how many", "a copy"],
)
def test_whatever_does_look_is_noticed(look: Callable[[Heaps], object]) -> None:
    heaps = pass_on(torch.float32, strongest)
    with pytest.raises(RuntimeError, match=r"[Mm]eta"):
        look(heaps)
