"""Occlusion: windows against the whole net, counts against brute force."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core import networks
from pipeline.core.changes import (
    count,
    occluder_changes,
    positions,
    trace_whole,
)
from pipeline.core.graph import trace
from pipeline.core.occlusion import Occluder, Occlusion, Sensitivity
from tests.core import random_nets


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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_nets.cases(images=1), st.data())
def test_windows_equal_the_whole_net(case: random_nets.Case, data: st.DataObject) -> None:
    net = headed(case, data.draw(st.booleans(), "linear layer over whole maps"))
    image = case.images[0]
    size = tuple(image.shape[1:])
    occluder = Occluder(
        data.draw(st.integers(1, min(size)), "occluder"),
        data.draw(st.integers(1, 4), "stride"),
        data.draw(st.tuples(*[st.floats(-2, 2)] * 3), "value"),
    )
    graph = trace(net, size)
    assume(graph.layers)
    layer = data.draw(st.sampled_from(graph.layers), "layer")
    plan = Occlusion(net, layer, size, occluder)
    found, full = plan.measure(image), plan.measure(image, method="full")
    scale = max(np.abs(full.total).max(), 1e-9)
    np.testing.assert_allclose(found.total, full.total, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(found.probability, full.probability, rtol=0, atol=1e-9)
    assert (found.top_class == full.top_class).all()
