"""The poster: one A0 page with what a run found, how it was found, and examples.

From top to bottom: the question, the net and its deconvnet, a row of feature maps per layer,
single pictures explained and occluded, and what it was all made from.
"""

import logging
from collections.abc import Mapping, Sequence

from pipeline.atlas.drawing.page import Area, Page, Pixels
from pipeline.atlas.drawing.style import HAIR, INK, QUIET
from pipeline.atlas.explain.bands import Bands
from pipeline.atlas.explain.items import depth_items, placed
from pipeline.atlas.net.columns import columns
from pipeline.atlas.net.diagram import draw_diagram
from pipeline.atlas.places import public_name
from pipeline.atlas.poster.choice import (
    BY_HAND,
    CRITERION,
    ShownMap,
    shown_layers,
    shown_maps,
)
from pipeline.atlas.poster.panels import SMALL, OcclusionPanel, RowPlan, draw_layer, name_size
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.graph.trace import Graph
from pipeline.data.findings import Explanation, Occluded
from pipeline.data.store import Store
from pipeline.data.stored.results import read_feature_maps

log = logging.getLogger(__name__)

WIDTH, HEIGHT = 841.0, 1189.0
"""A0, in millimetres."""

_DENSITY = 4.0  # pixels per millimetre
_GAP = 22.0  # between panels side by side; half of it between those one below the other
_MARGIN = 34.0
_INNER = WIDTH - 2 * _MARGIN
_HEADING = 21.0
_FOOTER = 40.0
_TITLE, _HEAD, _BODY = 104.0, 36.0, 25.0
_DIAGRAM = 0.74  # of the width
_SHORT = 9  # columns of a diagram that need no more
_SOLE = 0.55  # likewise, of a panel that has no other beside it
_MOST_EXAMPLES = 2

HOW = (
    "The net shrinks a picture layer by layer. For one feature map we keep the place where it is "
    "strongest and set all else to zero.",
    "The deconvnet takes this one activation back: it unpools by the switches that each pool "
    "recorded, rectifies, and filters with the transposed filters of the same layer.",
    "What arrives in pixel space, the projection, shows what in the picture excited the map. "
    "Mid-grey is zero.",
    "A box is all that a place of a layer sees of the input. It grows from layer to layer.",
)


def compose(
    run: Store,
    spec: RunSpec,
    graph: Graph,
    *,
    layers: Sequence[str] | None = None,
    maps: Mapping[str, Sequence[int]] | None = None,
    examples: Sequence[Explanation] = (),
    occlusion: Sequence[Occluded] | None = None,
    figures: Sequence[Pixels] = (),
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
        figures: further ones, each as wide as the page, which grows by them.

    Raises:
        RequestError: a layer or feature map is unknown or dead, or has no projections.
    """
    by_hand = maps or {}
    images = int(read_feature_maps(run)["images"].iloc[0])
    shown = shown_layers(spec, layers, list(by_hand))
    examples, experiments = examples[:_MOST_EXAMPLES], occlusion or ()
    heights = [_INNER * len(pixels) / pixels.shape[1] for pixels in figures]
    page = Page(WIDTH, HEIGHT + sum(heights) + _GAP * len(heights), _DENSITY)
    y = _title(page, spec, images) + _GAP / 2
    method = draw_method(page, y, graph, examples)
    plan, spare = row_plan(method, len(shown), len(examples), len(experiments))
    _say_left_out(by_hand, plan.maps)
    chosen = [shown_maps(run, layer, plan.maps, by_hand.get(layer.name)) for layer in shown]
    y = _layers(page, y + method + _GAP / 2, shown, chosen, plan) + spare
    names = [layer.name for layer in shown]
    _pictures(page, y + _GAP / 2, names, examples, experiments)
    y = _footer_top(HEIGHT)
    for pixels, height in zip(figures, heights, strict=True):
        page.picture(Area(_MARGIN, y, _INNER, height), pixels)
        y += height + _GAP
    _footer(page, spec, images, BY_HAND if set(by_hand) == set(names) else CRITERION)
    return page


def _title(page: Page, spec: RunSpec, images: int) -> float:
    """The question, and how many pictures and feature maps the answer is from; returns its end."""
    title = f"What does {spec.net} look for?"
    page.text(_MARGIN, _MARGIN - 10, title, _TITLE, bold=True, width=_INNER)
    maps = sum(layer.maps for layer in spec.layers)
    subtitle = (
        f"The strongest of {images:,} pictures for each of {maps:,} feature maps, and what "
        "a deconvnet sees of them"
    )
    return page.text(_MARGIN, _MARGIN + 40, subtitle, 30, colour=QUIET, width=_INNER)


def _heading(page: Page, x: float, y: float, text: str, width: float) -> float:
    page.rule((x, y), (x + width, y), INK, 0.8)
    return page.text(x, y + 3, text, _HEAD, bold=True, width=width) + 1.5


def draw_method(page: Page, y: float, graph: Graph, examples: Sequence[Explanation] = ()) -> float:
    """The diagram, and beside or below it how to read the rest; returns how high it is.

    The diagram shows the first of the examples, if there is one.
    """
    beside = len(columns(graph)) <= _SHORT  # a long net takes the whole width
    width = _DIAGRAM * _INNER if beside else _INNER
    top = _heading(page, _MARGIN, y, "The net and its deconvnet", width)
    picture = projection = None
    for example in examples[:1]:
        picture = example.picture.pixels
        projection = placed(depth_items(example, [example.top]), picture.shape[0])
    diagram = draw_diagram(page, _MARGIN, top, width, graph, SMALL, picture, projection)
    if beside:
        x, width = _MARGIN + width + _GAP, _INNER - width - _GAP
        end = _heading(page, x, y, "How to read this", width)
        for text in HOW:
            end = page.lines(x, end, text, _BODY, width) + 4
        return _HEADING + max(diagram, end - top)
    width, top = (_INNER - (len(HOW) - 1) * _GAP) / len(HOW), top + diagram + 4
    ends = [
        page.lines(_MARGIN + n * (width + _GAP), top, text, _BODY, width)
        for n, text in enumerate(HOW)
    ]
    return _HEADING + diagram + (max(ends) - top + 8)


def row_plan(method: float, layers: int, examples: int, occlusion: int) -> tuple[RowPlan, float]:
    """How the layers' rows are arranged beside what else is on the page, and what is left over.

    Args:
        method: the height of that panel.
        layers: how many are shown.
        examples: pictures explained.
        occlusion: pictures occluded.
    """
    taken = _MARGIN + 58 + _GAP / 2 + method + _GAP / 2 + _HEADING
    taken += _GAP / 2 + _pictures_height(layers, examples, occlusion) + _FOOTER + _MARGIN
    room = HEIGHT - taken
    plan = RowPlan.of(_INNER, room / max(1, layers))
    return plan, room - layers * plan.height


def _say_left_out(by_hand: Mapping[str, Sequence[int]], room: int) -> None:
    """Name the feature maps that were asked for and do not fit."""
    for layer, maps in by_hand.items():
        if len(maps) > room:
            log.warning(
                "This poster has room for %d feature maps of a layer; left out of %s: %s.",
                room, layer, ", ".join(map(str, maps[room:])),
            )  # fmt: skip


def _layers(
    page: Page,
    y: float,
    layers: Sequence[LayerSpec],
    maps: Sequence[Sequence[ShownMap]],
    plan: RowPlan,
) -> float:
    """A row of feature maps for each of the layers; returns where the last one ends."""
    text = "What excites each layer: projections of three winners, above the pictures they are from"
    y = _heading(page, _MARGIN, y, text, _INNER) + 3
    size = name_size(layers)
    for layer, of_layer in zip(layers, maps, strict=True):
        draw_layer(page, _MARGIN, y, layer, of_layer, plan, size)
        y += plan.height
    return y


def _pictures_height(layers: int, examples: int, occlusion: int) -> float:
    """The height of the row of single pictures."""
    widths = _widths(layers, examples, occlusion)
    heights = [_example_height(widths[0], layers)] if examples else []
    if occlusion:
        heights.append(OcclusionPanel(widths[-1]).height)
    return _HEADING + max(heights) if heights else 0.0


def _widths(layers: int, examples: int, occlusion: int) -> list[float]:
    """The widths of the panels side by side: at most two, both kinds equally high."""
    count = min(2, examples + occlusion)
    if count < 2:
        return [_SOLE * _INNER] * count
    room = _INNER - _GAP
    if not (examples and occlusion):
        return [room / 2, room / 2]
    narrow, wide = 0.4 * room, 0.7 * room
    while wide - narrow > 1:
        width = (narrow + wide) / 2
        if _example_height(width, layers) < OcclusionPanel(room - width).height:
            narrow = width
        else:
            wide = width
    return [narrow, room - narrow]


def _example_height(width: float, layers: int) -> float:
    bands = Bands(width, layers, SMALL)
    return bands.depth_height + bands.top_height + 2.5 * bands.line


def _pictures(
    page: Page,
    y: float,
    layers: Sequence[str],
    examples: Sequence[Explanation],
    occlusion: Sequence[Occluded],
) -> None:
    """Pictures explained on the left, occluded (or another one explained) on the right.

    As many experiments are shown as have room beside the examples.
    """
    widths = _widths(len(layers), len(examples), len(occlusion))
    experiments = occlusion[: max(min(1, len(occlusion)), 2 - len(examples))]
    panels: list[Explanation | Occluded] = [
        *examples[: len(widths) - len(experiments)],
        *experiments,
    ]
    x = _MARGIN
    for width, panel in zip(widths, panels, strict=True):
        if isinstance(panel, Occluded):
            top = _heading(page, x, y, "What hiding each place does", width)
            OcclusionPanel(width).draw(page, x, top, panel)
        else:
            _draw_example(page, x, y, width, panel, layers)
        x += width + _GAP


def _draw_example(
    page: Page, x: float, y: float, width: float, example: Explanation, layers: Sequence[str]
) -> None:
    wanted = example.picture.wanted
    name = wanted.class_name or wanted.name.rpartition("/")[2]
    y = _heading(page, x, y, f"One picture ({name}), layer by layer", width)
    bands = Bands(width, len(layers), SMALL)
    bands.draw_depth(page, x, y, example, layers)
    y += bands.depth_height + bands.line
    text = f"Its three strongest feature maps of {example.top}"
    page.text(x, y, text, SMALL, bold=True, width=width)
    bands.draw_top(page, x, y + 1.5 * bands.line, example)


def _footer_top(height: float) -> float:
    return height - _MARGIN + 8 - _FOOTER


def _footer(page: Page, spec: RunSpec, images: int, criterion: str) -> None:
    """How the feature maps were chosen, how to read projections, what the run is."""
    y = _footer_top(page.height)
    page.rule((_MARGIN, y), (_MARGIN + _INNER, y), HAIR, 0.5)
    height, width = spec.preprocessing.input_size
    versions = ", ".join(f"{name} {number}" for name, number in spec.versions.items())
    facts = (
        f"{criterion} Each projection is scaled by the 99.5th percentile of its own magnitudes.",
        f"Net {spec.net}, weights {public_name(spec.weights)} ({spec.weights_digest[:8]}), input "
        f"{width}×{height}. Data: {images:,} images of {public_name(spec.data)}; the top "
        f"{spec.top_k} per feature map were kept. Made with {versions}.",
        "After Zeiler & Fergus, Visualizing and Understanding Convolutional Networks (2013).",
    )
    page.lines(_MARGIN, y + 4, " ".join(facts), SMALL, _INNER, colour=QUIET)
