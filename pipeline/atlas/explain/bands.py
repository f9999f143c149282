"""The two bands of the figure of one picture: every layer, and the top layer's feature maps.

A band is a part of a page, as wide as it is told to be; the poster has the same ones.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import HAIR, POINT, QUIET, WASH
from pipeline.atlas.drawing.type import LINE, fit, text_width
from pipeline.atlas.explain.items import (
    Item,
    Measure,
    depth_items,
    draw_boxes,
    placed,
    squared,
    top_items,
    winner_pictures,
)
from pipeline.data.findings import Explanation

Winners = Mapping[tuple[str, int], pd.DataFrame]
"""(layer, feature map) → its rows of a run's projections, by rank."""

RANKS = 3
"""Winners of the run that are shown of a feature map."""


# --- every layer ------------------------------------------------------------------------------


def _depth_cell(width: float, columns: int, m: Measure, others: bool) -> float:
    """The side of a column: the band's two big pictures are as high as its columns together."""
    fixed = (columns - 1) * m.gap + m.gutter
    if others:
        return (width - fixed - (m.header + 2 * m.gap + m.line) / 2) / (columns + 1 + RANKS / 4)
    return (width - fixed - m.header / 2) / (columns + 1)


def depth_height(width: float, columns: int, m: Measure, others: bool) -> float:
    """How high `draw_depth` is."""
    cell = _depth_cell(width, max(4, columns), m, others)
    height = m.header + 2 * cell + m.gap / 2
    if others:
        height += m.line + m.gap + RANKS * (cell / 2 + m.gap / 2)
    return height


def draw_depth(
    page: Page,
    area: Area,
    explanation: Explanation,
    layers: Sequence[str],
    m: Measure,
    winners: Winners | None = None,
) -> None:
    """The picture with a box per layer, its projections at their places, and a column per layer."""
    items = depth_items(explanation, layers)
    cell = _depth_cell(area.width, max(4, len(items)), m, bool(winners))
    side = (area.height - m.gap) / 2
    pixels = explanation.picture.pixels
    above = Area(area.x, area.y, side, side)
    below = Area(area.x, area.y + side + m.gap, side, side)
    page.picture(above, pixels, HAIR)
    draw_boxes(page, above, items, pixels.shape[0], m, chips=True)
    page.picture(below, placed(items, pixels.shape[0]), HAIR)
    draw_boxes(page, below, items, pixels.shape[0], m)
    name_size = min(fit(item.layer, m.size, False, cell)[1] for item in items)
    x = area.x + side + m.gutter
    top = area.y + m.header
    _side_label(page, x, top, cell, "in the picture", m)
    _side_label(page, x, top + cell + m.gap / 2, cell, "projection", m)
    others_at = top + 2 * cell + m.gap * 1.5
    if winners is not None:
        page.text(
            x, others_at, "What else excites these feature maps: winners of the run, projection "
            "and patch", m.size, colour=QUIET,
        )  # fmt: skip
    for item in items:
        column = Area(x, area.y, cell, area.height)
        _header(page, column, item, m, name_size)
        _depth_column(page, column, item, explanation, m)
        if winners is not None and item.found is not None:
            rows = winners.get((item.found.layer, item.found.feature_map))
            _pairs_below(page, column, others_at + m.line + m.gap / 2, rows, m)
        x += cell + m.gap


def _depth_column(
    page: Page, column: Area, item: Item, explanation: Explanation, m: Measure
) -> None:
    cell = Area(column.x, column.y + m.header, column.width, column.width)
    lower = Area(cell.x, cell.bottom + m.gap / 2, cell.width, cell.width)
    if item.found is None:
        _inactive(page, Area(cell.x, cell.y, cell.width, lower.bottom - cell.y), m)
        return
    page.picture(cell, squared(explanation.patch(item.found)), item.colour, 0.18 * m.line)
    page.picture(lower, squared(item.found.contrast), item.colour, 0.18 * m.line)


def _inactive(page: Page, area: Area, m: Measure) -> None:
    page.box(area, HAIR, 0.3, fill=WASH, dashed=True)
    text = "No activation: this picture leaves the whole layer at zero."
    page.lines(
        area.x + m.gap, area.y + area.height / 2 - 2 * m.line, text, m.size,
        area.width - 2 * m.gap, colour=QUIET,
    )  # fmt: skip


def _pairs_below(page: Page, column: Area, y: float, rows: pd.DataFrame | None, m: Measure) -> None:
    """Winners of the run, one below the other: projection and patch."""
    side = (column.width - m.gap / 4) / 2
    if rows is None or not len(rows):
        page.lines(column.x, y, "not projected in this run", m.size, column.width, colour=QUIET)
        return
    for projection, patch in winner_pictures(rows, RANKS):
        page.picture(Area(column.x, y, side, side), projection)
        page.picture(Area(column.x + side + m.gap / 4, y, side, side), patch)
        y += column.width / 2 + m.gap / 2


# --- the top layer ----------------------------------------------------------------------------


def _top_geometry(width: float, columns: int, m: Measure, others: bool) -> tuple[float, float]:
    """The side of the big picture, as above it, and the width of a column."""
    side = (depth_height(width, columns, m, others) - m.gap) / 2
    return side, (width - side - m.gutter - 2 * m.gap * 2) / 3


def top_height(width: float, columns: int, m: Measure, others: bool) -> float:
    """How high `draw_top` is below a `draw_depth` with so many columns."""
    side, column = _top_geometry(width, columns, m, others)
    height = m.header + (column - m.gap / 2) / 2
    if others:
        height += m.line + 1.5 * m.gap + 2 * (column / RANKS)
    return max(side, height)


def draw_top(
    page: Page,
    area: Area,
    explanation: Explanation,
    columns: int,
    m: Measure,
    winners: Winners | None = None,
) -> None:
    """The strongest feature maps of the top layer: boxes in the picture, and a column for each."""
    side, width = _top_geometry(area.width, columns, m, bool(winners))
    items = top_items(explanation)
    pixels = explanation.picture.pixels
    big = Area(area.x, area.y, side, side)
    page.picture(big, pixels, HAIR)
    draw_boxes(page, big, items, pixels.shape[0], m, chips=True)
    x = big.right + m.gutter
    half = (width - m.gap / 2) / 2
    name_size = fit(explanation.top, m.size, False, width)[1]
    if not items:
        _inactive(page, Area(x, area.y + m.header, 3 * width, half), m)
        return
    _side_label(page, x, area.y + m.header, half, "picture, projection", m)
    others_at = area.y + m.header + half + m.gap
    if winners is not None:
        text = "What else excites them: winners of the run, projections above patches"
        page.text(x, others_at, text, m.size, colour=QUIET)
    for item in items:
        column = Area(x, area.y, width, area.height)
        _header(page, column, item, m, name_size)
        assert item.found is not None
        left = Area(x, area.y + m.header, half, half)
        right = Area(x + half + m.gap / 2, area.y + m.header, half, half)
        page.picture(left, squared(explanation.patch(item.found)), item.colour, 0.18 * m.line)
        page.picture(right, squared(item.found.contrast), item.colour, 0.18 * m.line)
        if winners is not None:
            rows = winners.get((item.found.layer, item.found.feature_map))
            _pairs_beside(page, column, others_at + m.line + m.gap / 2, rows, m)
        x += width + 2 * m.gap


def _pairs_beside(
    page: Page, column: Area, y: float, rows: pd.DataFrame | None, m: Measure
) -> None:
    side = (column.width - (RANKS - 1) * m.gap / 4) / RANKS
    if rows is None or not len(rows):
        page.lines(column.x, y, "not projected in this run", m.size, column.width, colour=QUIET)
        return
    for n, (projection, patch) in enumerate(winner_pictures(rows, RANKS)):
        x = column.x + n * (side + m.gap / 4)
        page.picture(Area(x, y, side, side), projection)
        page.picture(Area(x, y + side + m.gap / 4, side, side), patch)


# --- what both have ---------------------------------------------------------------------------


def _header(page: Page, column: Area, item: Item, m: Measure, name_size: float) -> None:
    """Chip and map, then the layer, the activation and what it sees, above a column's pictures."""
    chip = page.chip(column.x, column.y, item.chip, m.size, item.colour)
    x = chip.right + m.gap / 2
    one = item.found
    title = f"map {one.feature_map}" if one else "inactive"
    page.text(x, column.y + 0.1 * m.line, title, m.size, bold=True, width=column.right - x)
    y = column.y + 1.4 * m.line
    y = page.text(column.x, y, item.layer, name_size, width=column.width, keep_end=True)
    y += (m.size - name_size) * POINT * LINE
    rows, columns = item.sees
    facts = [f"activation {one.value:.4g}", f"at y {one.y}, x {one.x}"] if one else ["", ""]
    for fact in (*facts, f"sees {columns}×{rows} px"):
        y = page.text(column.x, y, fact, 0.9 * m.size, colour=QUIET, width=column.width)


def _side_label(page: Page, x: float, y: float, height: float, text: str, m: Measure) -> None:
    """Text beside a row of pictures, going up; where it does not fit, it is left out."""
    if text_width(text, 0.9 * m.size) < height:
        page.text(
            x - 0.9 * m.line, y + height / 2 - 0.65 * m.size * POINT, text, 0.9 * m.size,
            colour=QUIET, rotation=90, align="center",
        )  # fmt: skip
