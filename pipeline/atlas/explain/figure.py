"""The figure of one picture: what excites each layer most, and what else excites the same maps."""

from collections.abc import Sequence

from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import QUIET
from pipeline.atlas.explain.bands import (
    Winners,
    depth_height,
    draw_depth,
    draw_top,
    top_height,
)
from pipeline.atlas.explain.items import Measure
from pipeline.stages.explain import Explanation

MOST_LAYERS = 8
"""Layers that a figure has room for."""

READING = (
    "Boxes: receptive fields, clipped to the net's input. Projections: zero is mid-grey, each "
    "scaled by the 99.5th percentile of its own magnitudes."
)
"""How to read projections and boxes."""

_WIDTH = 297.0
_MARGIN = 10.0


def explain_page(
    explanation: Explanation,
    layers: Sequence[str],
    *,
    caption: Sequence[str],
    winners: Winners | None = None,
) -> Page:
    """The whole figure, on a page as high as it needs.

    Args:
        explanation: of one picture.
        layers: what to show of its layers, at most about `MOST_LAYERS`.
        caption: of the net, the run and the parameters, a line each.
        winners: of the feature maps that were found, where a run is at hand; none of a map says
            that it is not projected there.
    """
    measure = Measure()
    inner = _WIDTH - 2 * _MARGIN
    heights = [
        depth_height(inner, len(layers), measure, bool(winners)),
        top_height(inner, len(layers), measure, bool(winners)),
    ]
    caption = [*caption, READING, *_choice(explanation, layers)]
    title = (3.2 + len(caption)) * measure.line
    height = 2 * _MARGIN + title + sum(heights) + 5.5 * measure.line
    page = Page(_WIDTH, height, density=8.0)
    y = page.text(_MARGIN, _MARGIN, _title(explanation), 14, bold=True, width=inner)
    for line in caption:
        y = page.text(_MARGIN, y, line, measure.size, colour=QUIET, width=inner)
    y = _MARGIN + title
    y = _heading(page, y, "The strongest activation of each layer", inner, measure)
    draw_depth(page, Area(_MARGIN, y, inner, heights[0]), explanation, layers, measure, winners)
    y += heights[0] + measure.line
    count = sum(1 for _ in explanation.of(explanation.top))
    heading = f"The {count or ''} strongest feature maps of {explanation.top}".replace("  ", " ")
    y = _heading(page, y, heading, inner, measure)
    draw_top(page, Area(_MARGIN, y, inner, heights[1]), explanation, len(layers), measure, winners)
    return page


def _choice(explanation: Explanation, layers: Sequence[str]) -> list[str]:
    """Which layers are shown, where not all are."""
    if len(layers) == len(explanation.layers):
        return []
    return [
        f"Shown are {len(layers)} of {len(explanation.layers)} layers, spread evenly over the size "
        "of the receptive field."
    ]


def _title(explanation: Explanation) -> str:
    wanted = explanation.picture.wanted
    name = wanted.name.rstrip("/").rpartition("/")[2]
    return f"{name} ({wanted.class_name})" if wanted.class_name else name


def _heading(page: Page, y: float, text: str, width: float, measure: Measure) -> float:
    page.rule((_MARGIN, y), (_MARGIN + width, y))
    return page.text(_MARGIN, y + 0.5 * measure.line, text, 10.5, bold=True) + 0.5 * measure.line
