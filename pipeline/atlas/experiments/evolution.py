"""The figure of evolution: the paper's figure 4, feature maps through training."""

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

MOST_LAYERS, MOST_CHECKPOINTS, MAPS = 6, 8, 6
"""What blocks show."""

_GAP = 1.2
_CHARTS = {
    "itself": "Maps that have become themselves",
    "shared_with_last": "Winners that are the last ones'",
    "jumped": "Maps whose strongest winner is another",
}

READING = (
    "One net over one dataset at several checkpoints, left to right. A map has become itself at "
    "the first checkpoint that shares half of the last one's winners. Blocks: of some maps of each "
    "layer, evenly spaced, the projection of the strongest winner at each checkpoint; sudden "
    "changes are other winners (Zeiler and Fergus, 2013, figure 4)."
)

Strongest = Mapping[tuple[str, int, int], bytes]
"""Layer, feature map, checkpoint → the projection of its strongest winner."""


def evolution_page(
    rows: pd.DataFrame,
    projections: Strongest,
    checkpoints: Sequence[str],
    layers: Sequence[str],
    caption: Sequence[str] = (),
    width: float = WIDE,
) -> Page:
    """The whole figure, on a page as high as it needs.

    Args:
        rows: of `experiment_columns.EVOLUTION`.
        projections: of the maps of blocks: `MAPS` of each of some layers.
        checkpoints: what they are called, in order.
        layers: in the order of the forward pass.
        caption: lines about the runs.
        width: in millimetres.
    """
    m = Measures(width)
    down = -(-len(_CHARTS) // m.across(3))
    chart = 0.55 * m.side(3)
    charts = LEGEND * m.line + down * (chart + 4 * m.line) + 0.5 * m.gap
    shown = [name for name in layers if any(layer == name for layer, _, _ in projections)]
    columns = evenly(range(len(checkpoints)), MOST_CHECKPOINTS)
    across = m.across(2) if len(columns) > 3 else m.across(3)
    side = (m.side(across) - (len(columns) - 1) * _GAP) / len(columns)
    block = 2.6 * m.line + MAPS * (side + _GAP) + m.gap
    rows_of_blocks = -(-len(shown) // across)
    page, y = headed_page(
        "Evolution of feature maps through training",
        (*caption, READING),
        m,
        charts + rows_of_blocks * block,
    )
    colours = dict(zip(layers, depth_colours(len(layers)), strict=True))
    _charts(page, y, chart, rows, checkpoints, colours, m)
    for number, layer in enumerate(shown):
        top, right = divmod(number, across)
        corner = (
            m.margin + right * (m.side(across) + m.gap),
            y + charts + top * block,
        )
        _block(page, corner, side, layer, projections, columns, checkpoints, m)
    return page


def _charts(
    page: Page,
    y: float,
    height: float,
    rows: pd.DataFrame,
    checkpoints: Sequence[str],
    colours: Mapping[str, str],
    m: Measures,
) -> None:
    """What became of a layer's living maps, a line for each layer."""
    y = legend(page, y, {name: colours[name] for name in evenly([*colours][::-1], MOST_LAYERS)}, m)
    alive = rows[rows["shared_with_last"].notna()]
    itself = (alive["became_itself"] <= alive["checkpoint"]).astype(float)
    alive = alive.assign(itself=itself, jumped=alive["jumped"].astype("float"))
    numbers = list(range(1, len(checkpoints) + 1))
    for number, (column, title) in enumerate(_CHARTS.items()):
        down, right = divmod(number, m.across(3))
        left, top = m.margin + right * (m.side(3) + m.gap), y + down * (height + 4 * m.line)
        page.text(left, top, title, m.size, bold=True, width=m.side(3))
        area = Area(left + 7, top + 1.5 * m.line, m.side(3) - 9, height)
        chart = Chart(page, area, (1, max(2, len(checkpoints))), (0, 1), m.small)
        names = {float(n): name for n, name in zip(numbers, checkpoints, strict=True)}
        chart.axes(names, {0.0: "0", 0.5: "50 %", 1.0: "100 %"})
        means = alive.groupby(["layer", "checkpoint"])[column].mean()
        for layer, colour in colours.items():
            shares = [float(means.get((layer, n), np.nan)) for n in numbers]
            chart.line(numbers, shares, colour, 0.5)
            chart.dots(numbers, shares, colour, 1.2)


def _block(
    page: Page,
    corner: tuple[float, float],
    side: float,
    layer: str,
    projections: Strongest,
    columns: Sequence[int],
    checkpoints: Sequence[str],
    m: Measures,
) -> None:
    """Some maps of a layer, one below the other."""
    x, y = corner
    y = page.text(x, y, layer, 1.125 * m.size, bold=True)
    for place, column in enumerate(columns):
        name = checkpoints[column]
        page.text(x + place * (side + _GAP), y, name, m.small, colour=QUIET, width=side)
    y += m.line
    for feature_map in sorted({number for name, number, _ in projections if name == layer}):
        for place, column in enumerate(columns):
            data = projections.get((layer, feature_map, column + 1))
            if data is not None:
                stored_picture(page, data, Area(x + place * (side + _GAP), y, side, side))
        y += side + _GAP
