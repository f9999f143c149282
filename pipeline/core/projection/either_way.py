"""Projecting winners of several layers, on windows or over whole images, whichever costs less.

A pass over a whole image costs the same for one winner as for all of them; on windows each one
has a cost of its own. So every image has a depth: up to it the whole image is run, and what lies
deeper is computed on windows. Costs are multiply-adds on the way up; the way down is the same for
both.
"""

from collections.abc import Mapping
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from pipeline.core.graph.trace import Graph
from pipeline.core.projection.clipping import clipping_of, multiply_adds
from pipeline.core.projection.deconvnet import Seeds, Unpooling, ascend, project, project_on_windows

_IMAGES_AT_ONCE = 4
"""Whole images; more are not faster."""

Projected = tuple[Tensor, list[Tensor]]
"""Of n seeds: their activations, (n,), and their projections as `deconvnet.project` makes them."""


def project_either_way(
    graph: Graph,
    images: Tensor,
    seeds: Mapping[str, Seeds],
    unpooling: Unpooling = "sum",
    depths: NDArray[np.int64] | None = None,
) -> dict[str, Projected]:
    """Project positions of several layers, each the cheaper way.

    Args:
        graph: the net.
        images: normalised, (N, 3, H, W); fastest channels last.
        seeds: layer → positions.
        unpooling: as in `deconvnet.project`.
        depths: (N,) of `whole_depths`; those of these very seeds if not given.
    """
    found = {
        name: (images.new_empty(len(winners)), [images.new_empty(0)] * len(winners))
        for name, winners in seeds.items()
    }
    chosen_depths = whole_depths(graph, len(images), seeds) if depths is None else depths
    depth_of = torch.from_numpy(chosen_depths).to(images.device)
    for number, layer in enumerate(graph.layers):
        if layer.name in seeds:
            winners = seeds[layer.name]
            which = (number >= depth_of[winners.image]).nonzero()[:, 0]
            made = project_on_windows(graph, layer, images, winners[which], unpooling)
            _put(found[layer.name], which, made)
    for depth in sorted(set(depth_of.tolist()) - {0}):
        cut = _cut(graph, depth)
        for chosen in (depth_of == depth).nonzero()[:, 0].split(_IMAGES_AT_ONCE):
            here = {
                layer: torch.isin(seeds[layer.name].image, chosen).nonzero()[:, 0]
                for layer in cut.layers
                if layer.name in seeds
            }
            if not any(map(len, here.values())):
                continue
            ascent = ascend(cut, images[chosen])
            for layer, which in here.items():
                winners = seeds[layer.name][which]
                winners = replace(winners, image=torch.searchsorted(chosen, winners.image))
                projections = project(graph, layer, ascent, winners, unpooling)
                _put(found[layer.name], which, (ascent.at(layer.name, winners), projections))
    return found


def _put(found: Projected, which: Tensor, made: Projected) -> None:
    found[0][which] = made[0]
    for number, projection in zip(which.tolist(), made[1], strict=True):
        found[1][number] = projection


def whole_depths(graph: Graph, images: int, seeds: Mapping[str, Seeds]) -> NDArray[np.int64]:
    """(N,) up to how many of the net's layers each image is best run as a whole."""
    depths: NDArray[np.int64] = _work_of_depths(graph, images, seeds)[0].argmin(0)
    return depths


def work_needed(graph: Graph, images: int, seeds: Mapping[str, Seeds]) -> float:
    """About how many multiply-adds it takes to project positions of some images."""
    of_depths, windows = _work_of_depths(graph, images, seeds)
    down = np.where(np.isfinite(windows), windows, _whole(graph)[-1])
    return float(of_depths.min(0).sum() + down.sum())


def _work_of_depths(
    graph: Graph, images: int, seeds: Mapping[str, Seeds]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The multiply-adds of each depth (layers + 1, N), and of each layer's windows (layers, N)."""
    windows = np.zeros((len(graph.layers), images))
    for number, layer in enumerate(graph.layers):
        if layer.name in seeds and len(seeds[layer.name]):
            winners, clipping = seeds[layer.name], clipping_of(graph, layer)
            y, x, image = (part.cpu().numpy() for part in (winners.y, winners.x, winners.image))
            work = clipping.work(y, x) if clipping.is_local else np.full(len(y), np.inf)
            np.add.at(windows[number], image, work)
    return work_of_depths(_whole(graph), windows), windows


def _whole(graph: Graph) -> NDArray[np.int64]:
    return np.array([0, *multiply_adds(graph).values()])


def work_of_depths(whole: NDArray[np.int64], windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """What it costs to run each image as a whole up to each layer, and the rest on windows.

    Args:
        whole: (layers + 1,) the cost of a whole image up to so many layers.
        windows: (layers, N) the cost of each layer's positions on windows, for each image.

    Returns:
        (layers + 1, N)
    """
    # from the last layer on: what is left to windows behind each depth
    behind = np.cumsum(windows[::-1], axis=0)[::-1]
    left = np.concatenate([behind, np.zeros((1, windows.shape[1]))])
    work: NDArray[np.float64] = whole[:, None] + left
    return work


_CUTS: WeakKeyDictionary[fx.GraphModule, dict[int, Graph]] = WeakKeyDictionary()


def _cut(graph: Graph, depth: int) -> Graph:
    """The net up to its first so many layers, cut once for as long as it lives."""
    cuts = _CUTS.setdefault(graph.trunk, {})
    if depth not in cuts:
        cuts[depth] = graph.only(layer.name for layer in graph.layers[:depth])
    return cuts[depth]
