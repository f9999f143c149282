"""The figure of an occlusion: the poster's columns, one row per picture.

Occluded example, projection of the strongest activation, and over the occluder's places the total
activation of that feature map, the probability of the correct class, and the most probable class.
The maps lie exactly over the picture: each pixel shows the place whose middle is nearest.
"""

from collections.abc import Sequence
from typing import TypeVar

import matplotlib
import numpy as np
from numpy.typing import NDArray

from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import ACCENT, HAIR, INK, POINT, QUIET, RANK_COLOURS, SECOND
from pipeline.atlas.drawing.type import LINE, broken
from pipeline.config import RunSpec
from pipeline.core.render import projection_contrast
from pipeline.data.findings import Occluded

_Value = TypeVar("_Value", bound=np.generic)

_WIDTH = 297.0
_MARGIN = 10.0
_GAP = 6.0
_COLUMNS = 5
_SIZE = 8.0  # of the type
_SMALL = 7.0
_BAR = 3.0  # height of a colour bar
_LEGEND = 6  # classes with a colour of their own, the rest is "other"
_OTHER = "#b4b8be"
_LEAST_SHARE = 0.02  # of the largest value: what a map's colours span at least
_LEAST_PERCENT = 5.0  # likewise, percentage points

_LINE = _SIZE * POINT * LINE
_SMALL_LINE = _SMALL * POINT * LINE

READING = (
    "Maps lie over the picture: each pixel shows the place of the occluder whose middle is "
    "nearest. The square marks the place of the example, where the correct class is least "
    "probable. Projection: zero is mid-grey, scaled by the 99.5th percentile of its magnitudes."
)

_ORIGIN = {
    "label": "the sample's label",
    "given": "as given",
    "prediction": "the net's own prediction without occluder; no label is known",
}


def occlusion_figures(occluded: Occluded, spec: RunSpec) -> dict[str, bytes]:
    """The figure of one picture as files: extension → content."""
    net = f"{spec.net}, weights {spec.weights} ({spec.weights_digest[:8]}), data {spec.data}"
    return occlusion_page([occluded], [net]).figures()


def occlusion_page(rows: Sequence[Occluded], caption: Sequence[str] = ()) -> Page:
    """The whole figure, on a page as high as it needs.

    Args:
        rows: pictures, one below the other.
        caption: lines about the net, the weights and the run.
    """
    inner = _WIDTH - 2 * _MARGIN
    lines = [line for text in (*caption, READING) for line in broken(text, _SIZE, inner)]
    head = 2 * _LINE + len(lines) * _LINE
    height = 2 * _MARGIN + head + len(rows) * occlusion_height(inner)
    page = Page(_WIDTH, height, density=8.0)
    y = page.text(_MARGIN, _MARGIN, "Occlusion sensitivity", 14, bold=True, width=inner)
    for line in lines:
        y = page.text(_MARGIN, y, line, _SIZE, colour=QUIET)
    y = _MARGIN + head
    for row in rows:
        draw_occlusion(page, Area(_MARGIN, y, inner, occlusion_height(inner)), row)
        y += occlusion_height(inner)
    return page


def occlusion_height(width: float) -> float:
    """The height in millimetres of one picture's row, so wide."""
    return 5.5 * _LINE + _side(width) + 1.4 + 1.05 * _LEGEND * _SMALL_LINE + 4


def _side(width: float) -> float:
    return (width - (_COLUMNS - 1) * _GAP) / _COLUMNS


def draw_occlusion(page: Page, area: Area, row: Occluded) -> None:
    """One picture's row: what it is, and the five panels."""
    page.rule((area.x, area.y), (area.right, area.y))
    y = _describe(page, area, row)
    side = _side(area.width)
    found = row.found
    columns = [
        Area(area.x + n * (side + _GAP), y + _LINE + 0.8, side, side) for n in range(_COLUMNS)
    ]
    titles = (
        "Occluded example",
        f"Projection, map {found.feature_map}",
        f"Total activation, map {found.feature_map}",
        "Probability of the class",
        "Most probable class",
    )
    for panel, title in zip(columns, titles, strict=True):
        page.text(panel.x, y, title, 9, bold=True, width=side)
    place = np.unravel_index(found.probability.argmin(), found.probability.shape)
    at = int(found.tops[place[0]]), int(found.lefts[place[1]])
    _example(page, columns[0], row, at, place)
    _projection(page, columns[1], row)
    _scaled_map(
        page, columns[2], row, found.total, found.base_total, "viridis",
        "sum of activations over the map", at, _LEAST_SHARE * float(np.abs(found.total).max()),
    )  # fmt: skip
    _scaled_map(
        page, columns[3], row, 100 * found.probability, 100 * found.base_probability,
        "cividis", "probability, %", at, _LEAST_PERCENT,
    )  # fmt: skip
    _class_map(page, columns[4], row, at)


def _describe(page: Page, area: Area, row: Occluded) -> float:
    """What the picture and the parameters are; returns where the panels start."""
    found, settings = row.found, row.settings
    name = row.picture.wanted.title
    y = page.text(area.x, area.y + 0.4 * _LINE, name, 10.5, bold=True, width=area.width)
    origin = _ORIGIN[row.class_from]
    text = f"Correct class: {_name(row, found.label)} ({origin})"
    colour = SECOND if row.class_from == "prediction" else INK
    y = page.text(area.x, y, text, _SIZE, colour=colour, width=area.width)
    places = f"{len(found.tops)}×{len(found.lefts)} places"
    colour_name = "the mean colour" if settings.colour is None else settings.colour_name
    y = page.text(
        area.x, y,
        f"{row.net}, layer {row.layer}, feature map {found.feature_map} (strongest without "
        f"occluder: {_number(found.activation)} at y = {found.place[0]}, x = {found.place[1]}). "
        f"Occluder {settings.occluder}×{settings.occluder} pixels of {colour_name}, "
        f"stride {settings.stride}, {places}.",
        _SIZE, colour=QUIET, width=area.width,
    )  # fmt: skip
    return y + 0.5 * _LINE


# --- panels -----------------------------------------------------------------------------------


def _example(
    page: Page, panel: Area, row: Occluded, at: tuple[int, int], place: tuple[np.intp, ...]
) -> None:
    pixels = row.picture.pixels.copy()
    size, (top, left) = row.settings.occluder, at
    pixels[top : top + size, left : left + size] = row.colour
    page.picture(panel, pixels, HAIR)
    _mark(page, panel, row, at)
    found = row.found
    now = int(found.top_class[place])
    below = panel.bottom + 1
    lines = (
        f"here {_name(row, found.label)}: {100 * float(found.probability[place]):.1f} %,",
        f"without occluder: {100 * found.base_probability:.1f} %;",
        f"most probable here: {_name(row, now)}",
    )
    for line in lines:
        below = page.text(panel.x, below, line, _SMALL, colour=QUIET, width=panel.width)


def _projection(page: Page, panel: Area, row: Occluded) -> None:
    page.picture(panel, projection_contrast(row.projection), HAIR)
    scale = panel.width / row.projection.shape[2]
    top, left, bottom, right = row.box
    box = Area(
        panel.x + left * scale, panel.y + top * scale,
        (right - left) * scale, (bottom - top) * scale,
    )  # fmt: skip
    if row.found.activation > 0:
        page.box(box, ACCENT, 0.5)
        text = "box: what the activation sees"
    else:
        text = f"all of {row.layer} is inactive: nothing to project"
    for number, line in enumerate(broken(text, _SMALL, panel.width)):
        page.text(panel.x, panel.bottom + 1 + number * _SMALL_LINE, line, _SMALL, colour=QUIET)


def _scaled_map(
    page: Page,
    panel: Area,
    row: Occluded,
    values: NDArray[np.floating],
    without: float,
    ramp: str,
    unit: str,
    at: tuple[int, int],
    least: float,
) -> None:
    """A map in colour, and its colour bar with what the value is without occluder.

    The colours span at least `least`: rounding errors are no picture.
    """
    high = max(float(values.max()), without)
    low = min(float(values.min()), without)
    if high - low < least:
        low = max(0.0, high - least) if low >= 0 else high - least
    spread = high - low or 1.0
    colours = matplotlib.colormaps[ramp]
    pixels = np.rint(255 * colours((_over_picture(row, values) - low) / spread)[..., :3])
    page.picture(panel, pixels.astype(np.uint8), HAIR)
    _mark(page, panel, row, at)
    bar = Area(panel.x, panel.bottom + 1.8, panel.width, _BAR)
    gradient = np.rint(255 * colours(np.linspace(0, 1, 256))[None, :, :3]).astype(np.uint8)
    page.picture(bar, gradient, HAIR)
    middle = bar.x + (without - low) / spread * bar.width
    page.rule((middle, bar.y - 0.8), (middle, bar.bottom + 0.8), INK, 0.5)
    y = bar.bottom + 1
    page.text(bar.x, y, _number(low), _SMALL)
    page.text(bar.right, y, _number(high), _SMALL, align="right")
    page.text(bar.x + bar.width / 2, y, unit, _SMALL, align="center", width=0.66 * bar.width)
    page.text(
        bar.x, y + _SMALL_LINE, f"line: {_number(without)} without occluder", _SMALL,
        colour=QUIET, width=bar.width,
    )  # fmt: skip


def _class_map(page: Page, panel: Area, row: Occluded, at: tuple[int, int]) -> None:
    """Classes by colour, the correct one first, then by how often they come out on top."""
    found = row.found
    classes, counts = np.unique(found.top_class, return_counts=True)
    order = sorted(
        zip(classes.tolist(), counts.tolist(), strict=True),
        key=lambda one: (one[0] != found.label, -one[1], one[0]),
    )
    colours = dict(zip((label for label, _ in order), _class_colours(found.label, order),
                       strict=True))  # fmt: skip
    lookup = {label: matplotlib.colors.to_rgb(colour) for label, colour in colours.items()}
    coloured = np.array([lookup[label] for label in found.top_class.ravel().tolist()])
    pixels = np.rint(255 * coloured.reshape(*found.top_class.shape, 3)).astype(np.uint8)
    page.picture(panel, _over_picture(row, pixels), HAIR)
    _mark(page, panel, row, at)
    y = panel.bottom + 1.4
    named = [(label, count) for label, count in order if colours[label] != _OTHER]
    others = [count for label, count in order if colours[label] == _OTHER]
    entries = [(colours[label], _name(row, label), count) for label, count in named]
    if others:
        entries.append((_OTHER, f"{len(others)} other classes", sum(others)))
    for colour, name, count in entries:
        _entry(page, panel, y, colour, name, count / found.top_class.size)
        y += _SMALL_LINE * 1.05


def _entry(page: Page, panel: Area, y: float, colour: str, name: str, share: float) -> None:
    box = _SMALL * POINT
    page.box(Area(panel.x, y + 0.15 * box, box, box), HAIR, 0.2, fill=colour)
    text = f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"
    page.text(panel.right, y, text, _SMALL, colour=QUIET, align="right")
    page.text(panel.x + 1.6 * box, y, name, _SMALL, width=panel.width - 1.6 * box - 9)


def _class_colours(correct: int, order: Sequence[tuple[int, int]]) -> list[str]:
    """A colour for each class: the correct one's never changes, the rarest share the last one."""
    rest = iter(RANK_COLOURS[:1] + RANK_COLOURS[2:])
    many = len(order) > _LEGEND
    colours = []
    for number, (label, _) in enumerate(order):
        if label == correct:
            colours.append(RANK_COLOURS[1])
        elif many and number >= _LEGEND - 1:
            colours.append(_OTHER)
        else:
            colours.append(next(rest, _OTHER))
    return colours


def _over_picture(row: Occluded, values: NDArray[_Value]) -> NDArray[_Value]:
    """A map (R, Q, …) spread over the picture's pixels: of each, the nearest place."""
    _, height, width = row.projection.shape
    found, half = row.found, row.settings.occluder / 2
    nearest = [
        np.abs(np.arange(side)[:, None] + 0.5 - (first + half)).argmin(1)
        for side, first in ((height, found.tops), (width, found.lefts))
    ]
    spread: NDArray[_Value] = values[nearest[0]][:, nearest[1]]
    return spread


def _mark(page: Page, panel: Area, row: Occluded, at: tuple[int, int]) -> None:
    """Where the occluder of the example stands."""
    scale = panel.width / row.projection.shape[2]
    side = row.settings.occluder * scale
    square = Area(panel.x + at[1] * scale, panel.y + at[0] * scale, side, side)
    page.box(square, INK, 0.35, casing=True)


def _number(value: float) -> str:
    """Three figures, without an exponent where that is readable."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e5 else f"{value:.3g}"


def _name(row: Occluded, label: int) -> str:
    return row.class_name(label).replace("_", " ")
