"""The control: winners projected through weights that are drawn anew, from the top down."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from pipeline.core.evenly import evenly
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.likeness import rank_correlation, structural_similarity
from pipeline.core.nets.known import Net
from pipeline.core.nets.redrawn import cascade
from pipeline.core.projection.deconvnet import Unpooling, ascend, project
from pipeline.core.render import in_colour, projection_contrast
from pipeline.data.formats.dataset import Dataset
from pipeline.data.store import Store
from pipeline.data.stored.experiment_columns import LIKENESS, REDRAWN
from pipeline.data.stored.results import read_winners
from pipeline.stages.project import images_of, png, seeds_of

_IMAGES_IN_UNIT = 16
_IMAGES_AT_ONCE = 4


@dataclass(frozen=True)
class ControlSettings:
    """How the control is done.

    Attributes:
        seed: of the weights that are drawn.
        unpooling: of the projections.
    """

    seed: int = 0
    unpooling: Unpooling = "sum"


def chosen_winners(run: Store, layers: Sequence[str], maps: int, ranks: int) -> pa.Table:
    """The winners up to a rank of some maps of each layer, evenly spaced among those alive.

    The strongest winner of the middle one of these maps is to be `shown`.
    """
    tables = []
    for layer in layers:
        winners = read_winners(run, layer)
        chosen = evenly(np.unique(winners["feature_map"].to_numpy()).tolist(), maps)
        if not chosen:
            continue
        few = pc.is_in(winners["feature_map"], pa.array(chosen, pa.int32()))
        winners = winners.filter(pc.and_(few, pc.less_equal(winners["rank"], ranks)))
        middle = pc.equal(winners["feature_map"], chosen[len(chosen) // 2])
        shown = pc.and_(middle, pc.equal(winners["rank"], 1))
        name = pa.array([layer] * len(winners), pa.string())
        tables.append(winners.append_column("layer", name).append_column("shown", shown))
    return pa.concat_tables(tables) if tables else pa.table({"sample": []})


def units(winners: pa.Table) -> list[pa.Table]:
    """Winners cut into units of work, each of some images."""
    samples = np.unique(winners["sample"].to_numpy())
    starts = range(0, len(samples), _IMAGES_IN_UNIT)
    return [
        winners.filter(pc.is_in(winners["sample"], pa.array(samples[at : at + _IMAGES_IN_UNIT])))
        for at in starts
    ]


def control_unit(
    net: Net, winners: pa.Table, dataset: Dataset, settings: ControlSettings
) -> tuple[pa.Table, pa.Table]:
    """Project winners through the net as it is, and with weights drawn anew.

    Each starts with a one at the winner's place, since what a net of other weights says there may
    be nothing; projections are compared without regard to their scale.

    Args:
        net: with the layers of the winners, on the device to use; it is left as it is.
        winners: one of `units`.
        dataset: where their images are.
        settings: how.

    Returns:
        Rows of `LIKENESS`, and of `REDRAWN`.
    """
    found = [
        record
        for images, chunk in images_of(net, dataset, winners)
        for record in _controlled(net, images, chunk, settings)
    ]
    likenesses = [row for row in found if "structural_similarity" in row]
    pictures = [row for row in found if "projection" in row]
    return (
        pa.Table.from_pylist(likenesses, schema=LIKENESS),
        pa.Table.from_pylist(pictures, schema=REDRAWN),
    )


def _controlled(
    net: Net, images: Tensor, winners: pa.Table, settings: ControlSettings
) -> Iterator[dict[str, Any]]:
    """Of images (N, C, H, W) and the winners on them."""
    graph = deepcopy(net.graph)
    prepared = net.preprocessing.normalise(images).contiguous(memory_format=torch.channels_last)
    rows = {
        layer.name: winners.filter(pc.equal(winners["layer"], layer.name)) for layer in graph.layers
    }
    own = dict(_projected(graph, graph.layers, prepared, rows, settings.unpooling))
    for layer in graph.layers:
        for row, projection in zip(rows[layer.name].to_pylist(), own[layer.name], strict=True):
            if row["shown"]:
                pixels = images[row["image"]].cpu().numpy()
                patch = pixels[:, row["top"] : row["bottom"], row["left"] : row["right"]]
                picture = {"patch": png(in_colour(patch).transpose(1, 2, 0))}
                yield row | picture | {"layers_drawn": 0} | _picture(projection)
    for drawn, lowest in enumerate(cascade(graph, settings.seed), 1):
        reached = graph.layers[len(graph.layers) - drawn :]
        for name, projections in _projected(graph, reached, prepared, rows, settings.unpooling):
            count = 1 + [layer.name for layer in reached].index(name)
            how = {"drawn_down_to": lowest.name, "layers_drawn": count}
            for row, one, other in zip(rows[name].to_pylist(), own[name], projections, strict=True):
                yield row | how | _likeness(one, other) | (_picture(other) if row["shown"] else {})


def _projected(
    graph: Graph,
    layers: Sequence[Layer],
    images: Tensor,
    winners: Mapping[str, pa.Table],
    unpooling: Unpooling,
) -> Iterator[tuple[str, list[Tensor]]]:
    """The projections of each layer's winners, in their order."""
    found: dict[str, dict[int, Tensor]] = {layer.name: {} for layer in layers}
    for first in range(0, len(images), _IMAGES_AT_ONCE):
        ascent = ascend(graph, images[first : first + _IMAGES_AT_ONCE])
        for layer in layers:
            seeds = seeds_of(winners[layer.name], images.device)
            here = (seeds.image >= first) & (seeds.image < first + _IMAGES_AT_ONCE)
            which = here.nonzero()[:, 0]
            part = replace(seeds[which], image=seeds.image[which] - first)
            ones = images.new_ones(len(which))
            made = project(graph, layer, ascent, part, unpooling, ones)
            found[layer.name].update(zip(which.tolist(), made, strict=True))
    for name, projections in found.items():
        yield name, [projections[number] for number in range(len(projections))]


def _picture(projection: Tensor) -> dict[str, Any]:
    return {"projection": png(projection_contrast(projection))}


def _likeness(one: Tensor, other: Tensor) -> dict[str, float | None]:
    a, b = one.cpu().numpy(), other.cpu().numpy()
    correlations = {
        "rank_correlation": rank_correlation(a, b),
        "rank_correlation_of_magnitudes": rank_correlation(np.abs(a), np.abs(b)),
    }
    return {
        **{name: None if np.isnan(value) else value for name, value in correlations.items()},
        "structural_similarity": structural_similarity(
            projection_contrast(one), projection_contrast(other)
        ),
    }
