"""On windows or over whole images: the same projections, by the way that counts less."""

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.core.graph.trace import Graph, trace
from pipeline.core.nets import known
from pipeline.core.projection import either_way
from pipeline.core.projection.ascent import Ascent
from pipeline.core.projection.clipping import Clipping, multiply_adds
from pipeline.core.projection.deconvnet import Seeds, Unpooling, ascend, project
from pipeline.core.projection.either_way import (
    project_either_way,
    whole_depths,
    work_needed,
    work_of_depths,
)
from tests.core.projection.test_deconvnet import noise

pytestmark = pytest.mark.usefixtures("one_thread")


def net(name: str, pixels: int) -> Graph:
    made = known.build(name, seed=3).double()
    return trace(made, (pixels, pixels), lambda path: path.removeprefix("features."))


def winners(graph: Graph, images: int, each: int) -> dict[str, Seeds]:
    """Some positions of every layer, on images in no order."""
    generator = torch.Generator().manual_seed(2)
    return {
        layer.name: Seeds(
            *(
                torch.randint(0, most, (each,), generator=generator)
                for most in (images, layer.maps, *layer.size)
            )
        )
        for layer in graph.layers
    }


@pytest.mark.parametrize("unpooling", ["sum", "max"])
@pytest.mark.parametrize("depth", [0, 2, 5, None])
def test_both_ways_give_the_same(
    depth: int | None, unpooling: Unpooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, images = net("alexnet", 96), noise(7, 3, 96, 96)
    seeds = winners(graph, 7, 9)
    if depth is not None:
        monkeypatch.setattr(either_way, "whole_depths", lambda *_: np.full(7, depth))
    made = project_either_way(graph, images, seeds, unpooling)
    ascent = ascend(graph, images)
    assert list(made) == [layer.name for layer in graph.layers]
    for layer in graph.layers:
        some = seeds[layer.name]
        activations, projections = made[layer.name]
        torch.testing.assert_close(activations, ascent.at(layer.name, some), rtol=1e-9, atol=1e-12)
        expected = project(graph, layer, ascent, some, unpooling)
        for one, other in zip(projections, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_what_looks_at_whole_maps_is_run_over_whole_images() -> None:
    graph, images = net("efficientnet_b0", 64), noise(2, 3, 64, 64)
    layers = [layer.name for layer in graph.layers]
    seeds = {name: some for name, some in winners(graph, 2, 3).items() if name in layers[::7]}
    made = project_either_way(graph, images, seeds)
    ascent = ascend(graph, images)
    for name, some in seeds.items():
        torch.testing.assert_close(made[name][0], ascent.at(name, some), rtol=1e-9, atol=1e-12)


def test_only_images_that_need_it_are_run_as_a_whole_and_only_as_deep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[tuple[list[str], int]] = []

    def watched(graph: Graph, images: Tensor) -> Ascent:
        runs.append(([layer.name for layer in graph.layers], len(images)))
        return ascend(graph, images)

    monkeypatch.setattr(either_way, "ascend", watched)
    graph, images = net("alexnet", 96), noise(7, 3, 96, 96)
    names = [layer.name for layer in graph.layers]
    monkeypatch.setattr(either_way, "whole_depths", lambda *_: np.array([0, 3, 3, 3, 0, 3, 3]))
    project_either_way(graph, images, winners(graph, 7, 9))
    assert runs == [(names[:3], 4), (names[:3], 1)]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**16))
def test_the_cheapest_depth_is_found(layers: int, images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = np.cumsum([0, *rng.integers(0, 20, layers)])
    windows = rng.integers(0, 20, (layers, images)).astype(float)
    windows[rng.random(windows.shape) < 0.1] = np.inf
    found = work_of_depths(whole, windows).argmin(0)
    for image, depth in enumerate(found):
        costs = [whole[d] + windows[d:, image].sum() for d in range(layers + 1)]
        assert costs[depth] == min(costs)
        assert depth == costs.index(min(costs))


def test_alexnet_is_run_as_a_whole_only_where_that_counts_less() -> None:
    graph = known.assemble("alexnet", known.build("alexnet"), known.preprocessing("alexnet")).graph
    whole = multiply_adds(graph)
    conv5 = graph.layer("conv5")
    middle = int(Clipping(graph, conv5).work(np.array([6]), np.array([6]))[0])
    enough = whole["conv5"] // middle + 1  # winners in the middle

    def at_middle(count: int) -> dict[str, Seeds]:
        place = torch.full((count,), 6)
        return {"conv5": Seeds(torch.zeros_like(place), place, place, place)}

    assert 1 < enough < 10
    assert whole_depths(graph, 2, at_middle(enough - 1)).tolist() == [0, 0]
    assert whole_depths(graph, 2, at_middle(enough)).tolist() == [5, 0]
    # many winners of a lower layer do not make the deep one worth a whole pass
    place = torch.full((200,), 13)
    lower = {"conv2": Seeds(torch.zeros_like(place), place, place, place)}
    assert whole_depths(graph, 1, {**lower, **at_middle(1)}).tolist() == [2]
    # up and down: the whole is run once, the way down is each winner's own
    assert work_needed(graph, 2, at_middle(1)) == 2 * middle
    assert work_needed(graph, 2, at_middle(enough)) == whole["conv5"] + enough * middle


def test_what_is_remembered_of_a_net_goes_with_it() -> None:
    graph = net("alexnet", 96)
    project_either_way(graph, noise(1, 3, 96, 96), winners(graph, 1, 12))
    assert graph.trunk in either_way._CUTS
    trunk = weakref.ref(graph.trunk)
    del graph
    gc.collect()
    assert trunk() is None
