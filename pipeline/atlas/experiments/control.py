"""The figure of the control: what becomes of projections as weights are drawn anew."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.atlas.drawing.chart import Chart
from pipeline.atlas.drawing.heading import LEGEND, headed_page, legend
from pipeline.atlas.drawing.measures import WIDE, Measures
from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import QUIET, depth_colours
from pipeline.atlas.experiments.pictures import stored_picture
from pipeline.core.evenly import evenly

_MEASURES = {
    "rank_correlation": "Rank correlation",
    "rank_correlation_of_magnitudes": "… of magnitudes",
    "structural_similarity": "Structural similarity",
}
_MOST_ROWS, _MOST_COLUMNS = 6, 8
_GAP = 2.0  # between pictures, in millimetres

READING = (
    "Left to right, the weights of more and more layers are drawn anew, from the top down; the "
    "rest of the net stays as it is. Lines: how like the winners' projections still are to those "
    "through the net's own weights (1: equal; 0: nothing in common), the mean over the winners of "
    "a layer. What stays alike at the right is the picture's edges and the net's architecture, not "
    "what it has learned."
)


def control_page(
    likenesses: pd.DataFrame,
    pictures: pd.DataFrame,
    layers: Sequence[str],
    caption: Sequence[str] = (),
    width: float = WIDE,
) -> Page:
    """The whole figure, on a page as high as it needs.

    Args:
        likenesses: rows of `experiment_columns.LIKENESS`.
        pictures: of `experiment_columns.REDRAWN`.
        layers: in the order of the forward pass.
        caption: lines about the run.
        width: in millimetres.
    """
    m = Measures(width)
    shown = [name for name in layers if (pictures["layer"] == name).any()]
    rows = evenly(shown[::-1], _MOST_ROWS)
    columns = evenly(layers[::-1], _MOST_COLUMNS)
    side = (m.inner - (len(columns) + 1) * _GAP) / (len(columns) + 2)
    chart = 0.62 * m.side(3)
    charts = _charts_height(chart, m)
    pitch = side + m.small_line + _GAP
    page, y = headed_page(
        "Control: projections through weights drawn anew",
        (*caption, READING),
        m,
        charts + m.line + len(rows) * pitch,
    )
    colours = dict(zip(layers, depth_colours(len(layers)), strict=True))
    below = legend(page, y, {name: colours[name] for name in columns}, m)
    _charts(page, below, chart, likenesses, colours, m)
    _pictures(page, y + charts, side, pictures, rows, columns, m)
    return page


def _charts_height(chart: float, m: Measures) -> float:
    down = -(-len(_MEASURES) // m.across(3))
    return LEGEND * m.line + down * (chart + 4.4 * m.line) + m.gap


def _charts(
    page: Page,
    y: float,
    height: float,
    likenesses: pd.DataFrame,
    colours: Mapping[str, str],
    m: Measures,
) -> None:
    """A chart for each measure: one line per layer, from the net's own weights to none of them."""
    lowered = list(colours)[::-1]
    for number, (measure, title) in enumerate(_MEASURES.items()):
        down, right = divmod(number, m.across(3))
        x, top = m.margin + right * (m.side(3) + m.gap), y + down * (height + 4.4 * m.line)
        page.text(x, top, title, 1.125 * m.size, bold=True, width=m.side(3))
        means = likenesses.groupby(["layer", "drawn_down_to"])[measure].mean()
        low = min(0.0, float(np.floor(5 * means.min() + 0.25) / 5))
        area = Area(x + 6, top + 1.6 * m.line, m.side(3) - 8, height)
        chart = Chart(page, area, (-1, len(lowered) - 1), (low, 1), m.small)
        ticks = {-1.0: "own"} | {float(n): name for n, name in enumerate(lowered)}
        chart.axes(ticks, {v: f"{v:g}" for v in (low, 0.0, 0.5, 1.0) if v >= low})
        for name, colour in colours.items():
            ys = [float(means.get((name, lowest), np.nan)) for lowest in lowered]
            start = lowered.index(name) - 1  # what lies above it changes nothing
            xs = [*range(start, len(lowered))]
            chart.line(xs, [1.0, *ys[start + 1 :]], colour, 0.5)
            chart.dots(xs[-1:], ys[-1:], colour, 1.4)
        below = area.bottom + 0.8 * m.line + 0.4
        page.text(
            area.x + area.width / 2, below + 0.3 * m.line, "weights drawn anew down to",
            m.small, colour=QUIET, align="center",
        )  # fmt: skip


def _pictures(
    page: Page,
    y: float,
    side: float,
    pictures: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[str],
    m: Measures,
) -> None:
    """A winner of each layer: its patch, and its projections."""
    titles = ["Patch", "own weights", *(f"down to {name}" for name in columns)]
    xs = [m.margin + n * (side + _GAP) for n in range(len(titles))]
    for x, title in zip(xs, titles, strict=True):
        page.text(x, y, title, m.small, bold=True, width=side)
    y += m.line
    for name in rows:
        of_layer = pictures[pictures["layer"] == name]
        own = of_layer[of_layer["layers_drawn"] == 0].iloc[0]
        by_level = dict(zip(of_layer["drawn_down_to"], of_layer["projection"], strict=True))
        cells = [own["patch"], own["projection"], *(by_level.get(level) for level in columns)]
        bottom = y
        for x, cell in zip(xs, cells, strict=True):
            if cell is not None:
                placed = stored_picture(page, cell, Area(x, y, side, side))
                bottom = max(bottom, placed.bottom)
        text = f"{name}, map {own['feature_map']}"
        page.text(m.margin, bottom + 0.3, text, m.small, colour=QUIET, width=m.inner)
        y += side + m.small_line + _GAP
