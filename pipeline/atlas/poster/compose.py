"""Compose a poster from a run: choose what it shows of it, draw the page."""

from collections.abc import Mapping, Sequence

from pipeline.atlas.drawing.page import Page
from pipeline.atlas.poster.choice import BY_HAND, CRITERION, shown_layers, shown_maps
from pipeline.atlas.poster.page import (
    DENSITY,
    GAP,
    HEIGHT,
    WIDTH,
    draw_footer,
    draw_layers,
    draw_method,
    draw_pictures,
    draw_title,
    row_plan,
)
from pipeline.config import RunSpec
from pipeline.core.graph.trace import Graph
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
    for name in by_hand:
        spec.layer(name)  # refuses one that the run does not have
    images = int(read_feature_maps(run)["images"].iloc[0])
    shown = shown_layers(spec, layers or list(by_hand))
    examples, experiments = examples[:MOST_EXAMPLES], occlusion or ()
    page = Page(WIDTH, HEIGHT, DENSITY)
    y = draw_title(page, spec, images) + GAP / 2
    method = draw_method(page, y, graph, examples)
    plan = row_plan(method, len(shown), len(examples), len(experiments))
    chosen = [shown_maps(run, layer, plan.maps, by_hand.get(layer.name)) for layer in shown]
    y = draw_layers(page, y + method + GAP / 2, shown, chosen, plan)
    names = [layer.name for layer in shown]
    draw_pictures(page, y + GAP / 2, names, examples, experiments)
    draw_footer(page, spec, images, BY_HAND if set(by_hand) == set(names) else CRITERION)
    return page
