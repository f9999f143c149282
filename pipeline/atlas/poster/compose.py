"""Compose a poster from a run: choose what it shows, explain its examples, draw the page."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.atlas.drawing.page import Page
from pipeline.atlas.poster.choice import (
    BY_HAND,
    CRITERION,
    check_by_hand,
    shown_layers,
    shown_maps,
)
from pipeline.atlas.poster.panels import OcclusionPanel
from pipeline.atlas.poster.page import PosterContent, draw_poster, row_plan
from pipeline.config import RunSpec
from pipeline.core.graph.trace import Graph
from pipeline.core.render import projection_contrast
from pipeline.data.findings import Explanation, Occluded
from pipeline.data.results import read_feature_maps
from pipeline.data.store import Store

MOST_EXAMPLES = 2


def compose(
    run: Store,
    spec: RunSpec,
    graph: Graph,
    *,
    layers: Sequence[str] | None = None,
    maps: Mapping[str, Sequence[int]] | None = None,
    examples: Sequence[Explanation] = (),
    occlusion: Sequence[Occluded] | None = None,
) -> Page:
    """The poster of a run.

    Args:
        run: mined and projected.
        spec: what it is.
        graph: its net's, with the run's layers.
        layers: with a row each; up to five by depth if not named.
        maps: layer → the feature maps to show of it; the others are chosen by the criterion.
        examples: pictures explained in all of the run's layers, one or two.
        occlusion: experiments; their place goes to other panels if there are none.

    Raises:
        RequestError: a layer or feature map is unknown or dead, or has no projections.
    """
    by_hand = maps or {}
    check_by_hand(spec, by_hand)
    stats = read_feature_maps(run)
    shown = shown_layers(spec, layers or list(by_hand))
    chosen = list(examples)[:MOST_EXAMPLES]
    panels = [occlusion_panel(one) for one in occlusion or ()]
    plan = row_plan(graph, len(shown), len(chosen), len(panels))
    found = {
        layer.name: [
            (one.feature_map, one.note, one.winners)
            for one in shown_maps(run, layer, plan.maps, by_hand.get(layer.name))
        ]
        for layer in shown
    }
    images = int(stats["images"].iloc[0])
    criterion = BY_HAND if set(by_hand) == {layer.name for layer in shown} else CRITERION
    return draw_poster(PosterContent(spec, graph, images, shown, found, criterion, chosen, panels))


def occlusion_panel(occluded: Occluded) -> OcclusionPanel:
    """An experiment as the poster shows it: its maps over the picture.

    The example is the place where the correct class is least probable.
    """
    found, settings = occluded.found, occluded.settings
    pixels = occluded.picture.pixels
    row, column = np.unravel_index(found.probability.argmin(), found.probability.shape)
    top, left = int(found.tops[row]), int(found.lefts[column])
    example = pixels.copy()
    size = settings.occluder
    example[top : top + size, left : left + size] = occluded.colour
    over = np.ix_(
        _nearest(found.tops, size, pixels.shape[0]), _nearest(found.lefts, size, pixels.shape[1])
    )
    name = occluded.class_name(found.label)
    predicted = " (the net's own prediction)" if occluded.class_from == "prediction" else ""
    wanted = occluded.picture.wanted
    return OcclusionPanel(
        title=f"{wanted.name.rpartition('/')[2]}, correct class: {name}{predicted}",
        image=pixels,
        occluded=example,
        projection=projection_contrast(occluded.projection),
        feature_map=f"{occluded.layer}, map {found.feature_map}",
        total=found.total[over],
        probability=found.probability[over],
        class_name=name,
        top_class=found.top_class[over],
        names={one: occluded.class_name(one) for one in np.unique(found.top_class).tolist()},
        occluder=size,
        stride=settings.stride,
    )


def _nearest(starts: NDArray[np.integer], size: int, pixels: int) -> NDArray[np.intp]:
    """For each pixel the place of the occluder whose middle is nearest."""
    middles = starts + size / 2
    places: NDArray[np.intp] = np.abs(np.arange(pixels)[:, None] + 0.5 - middles).argmin(1)
    return places
