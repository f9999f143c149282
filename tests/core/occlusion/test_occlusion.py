"""Occlusion: windows against the whole net, counts against brute force."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from pipeline.core.graph.trace import Graph, Layer, trace
from pipeline.core.graph.whole_net import WholeNet, trace_whole
from pipeline.core.nets import known
from pipeline.core.occlusion.changes import (
    count,
    occluder_changes,
    positions,
)
from pipeline.core.occlusion.occlusion import Method, Occluder, Occlusion, Sensitivity
from tests.core import random_nets

METHODS: tuple[Method, ...] = ("incremental", "full")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by_hand(net: nn.Module, layer: str, image: Tensor, occluder: Occluder) -> dict[str, Tensor]:
    """Every occluded image through the untouched net, one at a time, the layer by a hook."""
    seen: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.clone())
    )
    size, value = occluder.size, image.new_tensor(occluder.value)[:, None, None]
    _, height, width = image.shape
    tops, lefts = positions(height, size, occluder.stride), positions(width, size, occluder.stride)
    with torch.no_grad():
        base = net(image[None].clone())[0]
        chosen = int(seen[0][0].amax((1, 2)).argmax())
        logits, totals = [], []
        for top in tops.tolist():
            for left in lefts.tolist():
                copy = image.clone()
                copy[:, top : top + size, left : left + size] = value
                logits.append(net(copy[None])[0])
                totals.append(seen[-1][0, chosen].sum())
    handle.remove()
    shape = len(tops), len(lefts)
    outputs = torch.stack(logits)
    return {
        "feature_map": torch.tensor(chosen),
        "total": torch.stack(totals).view(shape),
        "probability": outputs.softmax(1)[:, int(base.argmax())].view(shape),
        "logits": outputs.view(*shape, -1),
    }


def assert_same(found: Sensitivity, wanted: dict[str, Tensor], tolerance: float) -> None:
    assert found.feature_map == int(wanted["feature_map"])
    for name in ("total", "probability"):
        reference = wanted[name].numpy()
        scale = np.abs(reference).max()
        np.testing.assert_allclose(
            getattr(found, name), reference, rtol=0, atol=tolerance * max(scale, 1e-12)
        )
    logits = wanted["logits"].numpy()
    best = np.take_along_axis(logits, found.top_class[..., None], 2)[..., 0]
    assert (best >= logits.max(2) - tolerance * np.abs(logits).max()).all()


def headed(case: random_nets.Case, whole_maps: bool) -> nn.Sequential:
    """The random net with a classifier behind it."""
    with torch.no_grad():
        maps = case.net(case.images[:1].clone())
    pool: list[nn.Module] = [] if whole_maps else [nn.AdaptiveAvgPool2d(1)]
    features = maps.shape[1] * (maps.shape[2] * maps.shape[3] if whole_maps else 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        head = nn.Linear(features, 5).double()
    return nn.Sequential(case.net, *pool, nn.Flatten(), head).eval()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_nets.cases(images=1), st.data())
def test_windows_equal_the_whole_net(case: random_nets.Case, data: st.DataObject) -> None:
    net = headed(case, data.draw(st.booleans(), "linear layer over whole maps"))
    image = case.images[0]
    size = (image.shape[1], image.shape[2])
    occluder = Occluder(
        data.draw(st.integers(1, min(size)), "occluder"),
        data.draw(st.integers(1, 4), "stride"),
        data.draw(st.tuples(*[st.floats(-2, 2)] * 3), "value"),
    )
    graph = trace(net, size)
    assume(graph.layers)
    layer = data.draw(st.sampled_from(graph.layers), "layer")
    plan = Occlusion(net, layer, size, occluder)
    spans = occluder_changes(plan.net, occluder.size, occluder.stride)
    few = data.draw(st.integers(1, 4), "groups")
    plan.groups = plan.incremental.groups(*spans, few)
    found, full = plan.measure(image), plan.measure(image, method="full")
    scale = max(np.abs(full.total).max(), 1e-9)
    np.testing.assert_allclose(found.total, full.total, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(found.probability, full.probability, rtol=0, atol=1e-9)
    assert (found.top_class == full.top_class).all()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_nets.cases(images=1), st.data())
def test_nothing_changes_outside_what_is_said_to(
    case: random_nets.Case, data: st.DataObject
) -> None:
    size = (case.images.shape[2], case.images.shape[3])
    net = trace_whole(case.net, size)
    side = data.draw(st.integers(1, min(size)), "occluder")
    rows, columns = occluder_changes(net, side, 3)
    tops, lefts = (positions(length, side, 3) for length in size)
    i = data.draw(st.integers(0, len(tops) - 1), "row")
    j = data.draw(st.integers(0, len(lefts) - 1), "column")
    occluded = case.images.clone()
    occluded[..., tops[i] : tops[i] + side, lefts[j] : lefts[j] + side] += 5.0
    before, after = every_map(net, case.images), every_map(net, occluded)
    for name in net.steps:
        changed = ~torch.isclose(before[name], after[name], rtol=1e-9, atol=1e-9)[0].any(0)
        changed[
            rows[name].first[i] : rows[name].stop[i],
            columns[name].first[j] : columns[name].stop[j],
        ] = False
        assert not changed.any(), name


def every_map(net: WholeNet, images: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    class Watcher(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if n.name in net.steps:
                seen[n.name] = value.clone()
            return value

    with torch.no_grad():
        Watcher(net.traced).run(images.clone())
    return seen


def test_the_count_is_exact() -> None:
    """Every output that differs, one by one, times the multiply-adds of its filter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 5, 2, 1), nn.MaxPool2d(3, 2), nn.Conv2d(4, 6, 3, 1, 1, groups=2),
            nn.Conv2d(6, 2, 2, 3), nn.Flatten(), nn.Linear(2 * 4 * 4, 5),
        ).double().eval()  # fmt: skip
    images = noise(1, 3, 47, 51)
    whole = trace_whole(net, (47, 51))
    before = every_map(whole, images)
    size, stride = 9, 4
    wanted, every = 0, 0
    for top in positions(47, size, stride).tolist():
        for left in positions(51, size, stride).tolist():
            # an occluder that outshines everything, so that every maximum over it is new
            occluded = images.clone()
            occluded[..., top : top + size, left : left + size] += 1e6 * noise(
                3, size, size, seed=1
            )
            after = every_map(whole, occluded)
            for name, filters in (("_0", 3 * 25 * 4), ("_2", 2 * 9 * 6), ("_3", 6 * 4 * 2)):
                changed = (before[name] != after[name])[0].any(0)
                y, x = changed.any(1).nonzero(), changed.any(0).nonzero()
                hull = (int(y.max() - y.min()) + 1) * (int(x.max() - x.min()) + 1) if len(y) else 0
                wanted += hull * filters
                every += changed.numel() * filters
            wanted += 32 * 5
            every += 32 * 5
    found = count(whole, size, stride)
    assert (found.full, found.incremental) == (every, wanted)


@pytest.mark.parametrize(
    "name",
    ["squeezenet1_1", "resnet18", "googlenet", "densenet121", "mobilenet_v3_small"],
)
def test_nets_against_every_image_by_hand(name: str) -> None:
    net = known.build(name, classes=7, seed=3).double().eval()
    random_nets.settle(net) if name == "resnet18" else None
    side = 80 if name == "squeezenet1_1" else 64
    image = noise(3, side, side, seed=5)
    graph = trace(net, (side, side))
    blocks = [one for one in graph.layers if one.name.startswith("layer")]
    chosen = blocks[-1] if blocks else graph.layers[0]
    occluder = Occluder(19, 15, (0.5, -1.0, 2.0))
    plan = Occlusion(net, chosen, (side, side), occluder)
    wanted = by_hand(net, hooked(net, graph, chosen), image, occluder)
    for method in METHODS:
        assert_same(plan.measure(image, method=method), wanted, 1e-9)


def hooked(net: nn.Module, graph: Graph, layer: Layer) -> str:
    """The module that returns the layer's maps: the rectification, or the residual block."""
    if not isinstance(net.get_submodule(layer.name), nn.Conv2d):
        return layer.name
    node = next(node for node in graph.trunk.graph.nodes if node.name == layer.step)
    return str(list(node.meta["nn_module_stack"].values())[-1][0])


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_float32_is_as_accurate_as_it_can_be() -> None:
    net = known.build("alexnet", seed=1)
    graph = trace(net, (224, 224))
    image = noise(3, 224, 224).float()
    plan = Occlusion(net, graph.layers[-1], (224, 224), Occluder(54, 40))
    found, full = plan.measure(image), plan.measure(image, method="full")
    np.testing.assert_allclose(found.total, full.total, rtol=1e-4)
    np.testing.assert_allclose(found.probability, full.probability, rtol=1e-4)


def test_the_posters_positions() -> None:
    places = positions(227, 27, 7)
    assert len(places) == 30
    assert places[:3].tolist() == [0, 7, 14]
    assert places[-2:].tolist() == [196, 200]
    assert len(positions(224, 27, 7)) == 30


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20))
def test_positions_cover_the_image_to_its_last_pixel(length: int, size: int, stride: int) -> None:
    assume(size <= length)
    places = positions(length, size, stride)
    assert places[0] == 0
    assert places[-1] + size == length
    steps = np.diff(places)
    assert (steps[:-1] == stride).all()
    assert ((steps > 0) & (steps <= stride)).all()


@pytest.mark.parametrize(("size", "stride"), [(65, 7), (0, 7), (9, 0), (9, -1)])
def test_impossible_occluders(size: int, stride: int) -> None:
    with pytest.raises(ValueError, match="occluder"):
        positions(64, size, stride)


def test_a_label_outside_the_classes() -> None:
    net = known.build("demo")
    graph = trace(net, (112, 112))
    plan = Occlusion(net, graph.layers[-1], (112, 112))
    with pytest.raises(ValueError, match="classes 0 to 15, not 16"):
        plan.measure(torch.zeros(3, 112, 112), 16)


def test_an_occluder_of_the_whole_image() -> None:
    net = known.build("demo").double()
    graph = trace(net, (112, 112))
    plan = Occlusion(net, graph.layers[-1], (112, 112), Occluder(112, 7, (1.0, 0.0, -1.0)))
    found = plan.measure(noise(3, 112, 112), 4)
    assert found.probability.shape == (1, 1)
    with torch.no_grad():
        one_colour = torch.tensor([1.0, 0.0, -1.0]).double()[:, None, None].expand(3, 112, 112)
        wanted = net(one_colour[None]).softmax(1)[0, 4]
    assert found.probability[0, 0] == pytest.approx(float(wanted), rel=1e-9)


@pytest.mark.parametrize(
    ("rectifier", "cut"),
    [(nn.ReLU6(inplace=True), 6.0), (nn.Hardtanh(-6, 6), 6.0), (nn.Hardsigmoid(inplace=True), 1.0)],
    ids=str,
)
def test_of_maps_cut_off_alike_the_strongest_is_watched(rectifier: nn.Module, cut: float) -> None:
    conv = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([0.1, 10.0, 1.0])[:, None, None, None])
    net = nn.Sequential(conv, rectifier, nn.Flatten(), nn.Linear(3 * 64, 2)).eval()
    image = torch.full((3, 8, 8), 35.0)
    image[:, 5, 6] = 40.0
    (layer,) = trace(net, (8, 8)).layers
    found = Occlusion(net, layer, (8, 8), Occluder(3, 2)).measure(image)
    assert (found.feature_map, found.place, found.activation) == (1, (5, 6), cut)
    assert found.base_total == cut * 64
