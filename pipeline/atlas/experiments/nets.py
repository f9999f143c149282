"""The figure of several nets: their first filters and second layers, and maps that are alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.atlas.drawing.heading import headed_page
from pipeline.atlas.drawing.measures import WIDE, Measures
from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import QUIET
from pipeline.atlas.experiments.pictures import shown
from pipeline.core.render import MID_GREY, in_colour, projection_contrast

FILTERS_ACROSS, MAPS_ACROSS = 12, 6
MAPS = 24
_GAP = 1.0

READING = (
    "Several nets over one dataset. Filters of the first layer share one scale, so that those that "
    "dominate do; power is low below a sixth of a cycle per pixel, high from a third on, and what "
    "lies beyond the stride's half cycle per step is folded onto lower frequencies. Projections: "
    "the strongest winner of some maps of the second layer; the grid tells how much stronger than "
    "its surroundings a pattern of the first layer's stride is (Zeiler and Fergus, 2013, figure 6)."
)

Picture = NDArray[np.floating]


@dataclass(frozen=True)
class Side:
    """What is shown of a run.

    Attributes:
        name: what it is called.
        filters: of the first layer, (N, C, H, W).
        second: the name of the second layer, or of the only one.
        projections: feature map of that layer → (H, W, 3), zero for nothing.
    """

    name: str
    filters: Picture
    second: str
    projections: Mapping[int, Picture]


@dataclass(frozen=True)
class Pair:
    """Two maps that share winners.

    Attributes:
        names: of both, each with its run.
        note: how alike they are.
        projections: of the strongest winner of each.
    """

    names: tuple[str, str]
    note: str
    projections: tuple[Picture, Picture]


def nets_page(
    sides: Sequence[Side],
    spectra: pd.DataFrame,
    pairs: Sequence[Pair],
    caption: Sequence[str] = (),
    width: float = WIDE,
) -> Page:
    """The whole figure, on a page as high as it needs.

    Args:
        sides: the runs, side by side.
        spectra: rows of `experiment_columns.SPECTRA`.
        pairs: maps that are alike.
        caption: lines about the runs.
        width: in millimetres.
    """
    m = Measures(width)
    across = min(len(sides), 3)
    column = (m.inner - (across - 1) * m.gap) / across
    filter_side = (column - (FILTERS_ACROSS - 1) * _GAP) / FILTERS_ACROSS
    map_side = (column - (MAPS_ACROSS - 1) * _GAP) / MAPS_ACROSS
    filter_rows = max(-(-len(side.filters) // FILTERS_ACROSS) for side in sides)
    map_rows = max(-(-len(side.projections) // MAPS_ACROSS) for side in sides)
    block = 7.2 * m.line + filter_rows * (filter_side + _GAP) + map_rows * (map_side + _GAP) + m.gap
    rows = -(-len(sides) // across)
    pair = (m.inner - 3 * m.gap) / 4
    pair_side = (pair - _GAP) / 2
    pair_rows = -(-len(pairs) // 4)
    below = (2 * m.line + pair_rows * (pair_side + 3.6 * m.small_line)) if pairs else 0.0
    page, y = headed_page("Nets side by side", (*caption, READING), m, rows * block + below)
    for number, side in enumerate(sides):
        down, right = divmod(number, across)
        x, top = m.margin + right * (column + m.gap), y + down * block
        of = spectra[spectra["run"] == side.name]
        _side(page, Area(x, top, column, block), side, of, filter_rows, filter_side, map_side, m)
    y += rows * block
    if pairs:
        page.text(m.margin, y, "Maps that share winners", 1.125 * m.size, bold=True)
    for number, each in enumerate(pairs):
        down, right = divmod(number, 4)
        x = m.margin + right * (pair + m.gap)
        top = y + 1.6 * m.line + down * (pair_side + 3.6 * m.small_line)
        for place, picture in enumerate(each.projections):
            area = Area(x + place * (pair_side + _GAP), top, pair_side, pair_side)
            shown(page, _contrast(picture), area)
        for text in (*each.names, each.note):
            page.text(x, top + pair_side + 0.3, text, m.small, colour=QUIET, width=pair)
            top += m.small_line
    return page


def _side(
    page: Page,
    area: Area,
    side: Side,
    of: pd.DataFrame,
    filter_rows: int,
    filter_side: float,
    map_side: float,
    m: Measures,
) -> None:
    """A run: its first filters, and its second layer's projections."""
    y = page.text(area.x, area.y, side.name, 1.25 * m.size, bold=True, width=area.width)
    first = of.iloc[0]
    y = page.text(area.x, y, f"{first['layer']}: {len(side.filters)} filters", m.size, bold=True)
    text = (
        f"power {_percent(first['filters_low'])} low, {_percent(first['filters_high'])} high, "
        f"{_percent(first['filters_beyond_stride'])} beyond the stride; {_dead(first)}"
    )
    y = page.text(area.x, y, text, m.small, colour=QUIET, width=area.width) + 0.3 * m.line
    for number, pixels in enumerate(_filters(side.filters)):
        down, right = divmod(number, FILTERS_ACROSS)
        x = area.x + right * (filter_side + _GAP)
        top = y + down * (filter_side + _GAP)
        shown(page, pixels, Area(x, top, filter_side, filter_side))
    y += filter_rows * (filter_side + _GAP) + 0.5 * m.line
    second = of[of["layer"] == side.second].iloc[0]
    y = page.text(area.x, y, f"{side.second}: projections", m.size, bold=True, width=area.width)
    grid = "no stride to see" if pd.isna(second["grid"]) else f"grid {second['grid']:.2g} times"
    text = f"power {_percent(second['low'])} low, {_percent(second['high'])} high; {grid}; "
    text += _dead(second)
    y = page.text(area.x, y, text, m.small, colour=QUIET, width=area.width) + 0.3 * m.line
    for number, picture in enumerate(side.projections.values()):
        down, right = divmod(number, MAPS_ACROSS)
        x = area.x + right * (map_side + _GAP)
        shown(page, _contrast(picture), Area(x, y + down * (map_side + _GAP), map_side, map_side))


def _percent(share: float) -> str:
    return "–" if pd.isna(share) else f"{100 * share:.0f} %"


def _dead(row: "pd.Series[float]") -> str:
    dead, maps = int(row["dead"]), int(row["maps"])
    return f"{dead} of {maps} maps are dead" if dead else "no map is dead"


def _filters(filters: Picture) -> list[NDArray[np.uint8]]:
    """Each as a picture, all of one scale."""
    scaled = filters / max(float(np.abs(filters).max()), 1e-30)
    grey = MID_GREY + np.rint(scaled * (255 - MID_GREY))
    return [
        np.ascontiguousarray(in_colour(each).transpose(1, 2, 0))
        for each in grey.clip(0, 255).astype(np.uint8)
    ]


def _contrast(picture: Picture) -> NDArray[np.uint8]:
    return projection_contrast(np.asarray(picture, np.float64).transpose(2, 0, 1))
