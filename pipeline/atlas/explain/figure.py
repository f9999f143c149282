"""The figure of one picture: what excites each layer most, and what else excites the same maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.atlas.drawing.measures import PRINT, WIDE, Measures
from pipeline.atlas.drawing.page import Page
from pipeline.atlas.drawing.style import QUIET
from pipeline.atlas.drawing.type import broken
from pipeline.atlas.explain.bands import RANKS, Bands, Winners
from pipeline.atlas.layers import spread_by_depth
from pipeline.atlas.places import public_name
from pipeline.config import RunSpec
from pipeline.data.class_names import called
from pipeline.data.findings import Explanation
from pipeline.data.pictures import Wanted
from pipeline.data.store import Store
from pipeline.data.stored.results import read_projections

MOST_LAYERS = 8
"""Layers that a page has room for."""

_MILLIMETRES = 36.0
"""That one of them takes."""

READING = (
    "Boxes: receptive fields, clipped to the net's input. Projections: zero is mid-grey, each "
    "scaled by the 99.5th percentile of its own magnitudes."
)
"""How to read projections and boxes."""

Outputs = Mapping[str, Sequence[str]]

_HEADINGS = 5.5  # lines of type that the headings of the bands take


def explain_figures(
    explanation: Explanation,
    run: Store,
    spec: RunSpec,
    *,
    outputs: Outputs | None = None,
    width: float = WIDE,
    svg: bool = False,
) -> dict[str, bytes]:
    """The figure of a picture beside the run's winners, as files: extension → content."""
    layers = figure_layers(explanation, width)
    page = explain_page(
        explanation,
        layers,
        caption=run_caption(spec),
        winners=found_winners(run, explanation, layers),
        outputs=outputs,
        width=width,
    )
    return page.figures(svg=svg)


def figure_layers(explanation: Explanation, width: float = WIDE) -> list[str]:
    """The layers that a figure shows: all, or as many as are readable, spread by depth."""
    most = max(2, min(MOST_LAYERS, int(width / _MILLIMETRES)))
    return [layer.name for layer in spread_by_depth(explanation.layers, most)]


def found_winners(run: Store, explanation: Explanation, layers: Sequence[str]) -> Winners:
    """The run's first winners of the maps that were found, the picture itself left out."""
    wanted = {*layers, explanation.top}
    winners: dict[tuple[str, int], pd.DataFrame] = {}
    for layer in explanation.layers:
        maps = [activation.feature_map for activation in explanation.of(layer.name)]
        if not maps or layer.name not in wanted:
            continue
        # one more than is shown, in case the picture is itself a winner
        rows = read_projections(run, layer.name, maps, RANKS + 1)
        own = explanation.picture.wanted
        others = rows.loc[[not _is_same(own, row) for row in rows.itertuples()]]
        for feature_map, of_map in others.groupby("feature_map"):
            winners[layer.name, int(str(feature_map))] = of_map.head(RANKS)
    return winners


def _is_same(wanted: Wanted, row: Any) -> bool:
    """Whether a winner is the picture itself: the sample, or the file of an image folder."""
    if wanted.located is not None:
        return bool(row.sample == wanted.sample)
    own, there = wanted.name.removeprefix("file://"), f"{row.shard}/{row.key}"
    if "://" in own:
        return own == there
    return Path(there).is_file() and Path(own).samefile(there)


def run_caption(spec: RunSpec) -> tuple[str, ...]:
    """Net and run in a line each, as figures say it."""
    height, width = spec.preprocessing.input_size
    return (
        f"{spec.net}, weights {public_name(spec.weights)} ({spec.weights_digest[:8]}), "
        f"input {width}×{height}, unpooling: sum",
        f"Winners: the run's top {spec.top_k} of {public_name(spec.data)}",
    )


def explain_page(
    explanation: Explanation,
    layers: Sequence[str],
    *,
    caption: Sequence[str],
    winners: Winners | None = None,
    outputs: Outputs | None = None,
    width: float = WIDE,
) -> Page:
    """The whole figure, on a page as high as it needs.

    Args:
        explanation: of one picture.
        layers: what to show of its layers, at most about `MOST_LAYERS`.
        caption: of the net, the run and the parameters, a line each.
        winners: of the feature maps that were found, where a run is at hand; none of a map says
            that it is not projected there.
        outputs: layer → the names of its maps, where these are the net's outputs.
        width: of the page, in millimetres.
    """
    m = Measures(width)
    bands = Bands(m.inner, len(layers), m.size, winners, outputs)
    said = (*caption, READING, *_choice(explanation, layers))
    lines = [line for text in said for line in broken(text, m.size, m.inner)]
    title = (3.2 + len(lines)) * bands.line
    height = bands.depth_height + bands.top_height
    page = Page(m.width, 2 * m.margin + title + height + _HEADINGS * bands.line, PRINT)
    y = page.text(m.margin, m.margin, _title(explanation), 1.75 * m.size, bold=True, width=m.inner)
    for line in lines:
        y = page.text(m.margin, y, line, m.size, colour=QUIET, width=m.inner)
    y = _heading(page, m, m.margin + title, "The strongest activation of each layer")
    bands.draw_depth(page, m.margin, y, explanation, layers)
    y += bands.depth_height + bands.line
    count = len(explanation.of(explanation.top))
    heading = f"The {count or ''} strongest feature maps of {explanation.top}".replace("  ", " ")
    y = _heading(page, m, y, heading)
    bands.draw_top(page, m.margin, y, explanation)
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
    picture = explanation.picture
    class_name = called(picture.wanted.label, picture.wanted.class_name)
    return f"{picture.title} ({class_name})" if class_name else picture.title


def _heading(page: Page, m: Measures, y: float, text: str) -> float:
    """A rule and a line of type; returns where what follows starts."""
    page.rule((m.margin, y), (m.margin + m.inner, y))
    between = 0.5 * m.line
    return page.text(m.margin, y + between, text, 1.3 * m.size, bold=True) + between
