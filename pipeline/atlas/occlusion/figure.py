"""The figure of an occlusion: the poster's columns, one row per picture.

Occluded example, projection of the strongest activation, and over the occluder's places the total
activation of that feature map, the probability of the correct class, and the most probable class.
The maps lie exactly over the picture: each pixel shows the place whose middle is nearest.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.atlas.drawing.heading import headed_page
from pipeline.atlas.drawing.measures import WIDE, Measures
from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import ACCENT, HAIR, INK, POINT, QUIET, RANK_COLOURS, SECOND
from pipeline.atlas.drawing.type import broken, fit
from pipeline.atlas.drawing.words import in_words, readable
from pipeline.atlas.occlusion import maps
from pipeline.atlas.places import public_name
from pipeline.config import RunSpec
from pipeline.core.render import projection_contrast
from pipeline.data.findings import Occluded

_PANELS = 5
_BAR = 3.0  # height of a colour bar
_COLOURED = 6  # classes with a colour of their own, the rest is "other"
_OTHER = "#b4b8be"
_LEAST_SHARE = 0.02  # of the largest value: what a map's colours span at least
_LEAST_PERCENT = 5.0  # likewise, percentage points
_FLAT = 0.2  # of that: what changes by less is said in words

READING = (
    "Maps lie over the picture: each pixel shows the place of the occluder whose middle is "
    "nearest. The square marks the place of the example, where the correct class is least "
    "probable. Projection: zero is mid-grey, scaled by the 99.5th percentile of its magnitudes."
)

_ORIGIN = {
    "label": "the sample's label",
    "given": "as given",
    "prediction": "the net's own prediction without occluder; no label of its classes is known",
}


def occlusion_figures(
    occluded: Occluded, spec: RunSpec, *, width: float = WIDE, svg: bool = False
) -> dict[str, bytes]:
    """The figure of one picture as files: the end of its name → content."""
    return occlusion_page([occluded], run_caption(spec), width).figures(svg=svg)


def run_caption(spec: RunSpec) -> list[str]:
    """Net, weights and data in a line."""
    weights = f"{public_name(spec.weights)} ({spec.weights_digest[:8]})"
    return [f"{spec.net}, weights {weights}, data {public_name(spec.data)}"]


def occlusion_page(
    rows: Sequence[Occluded], caption: Sequence[str] = (), width: float = WIDE
) -> Page:
    """The whole figure, on a page as high as it needs.

    Args:
        rows: pictures, one below the other.
        caption: lines about the net, the weights and the run.
        width: in millimetres.
    """
    m = Measures(width)
    below = sum(_height(row, m) for row in rows) + (len(rows) - 1) * m.gap
    page, y = headed_page("Occlusion sensitivity", (*caption, READING), m, below)
    for occluded in rows:
        _draw_row(page, y, occluded, m)
        y += _height(occluded, m) + m.gap
    return page


def _panel_height(occluded: Occluded, m: Measures) -> float:
    """Of a line of panels: their titles, these, and the longest text below them."""
    legend = min(len(np.unique(occluded.found.top_class)), _COLOURED)
    words = 3 * m.small_line
    below = max(1.8 + _BAR + 1 + 2 * m.small_line, 1 + words, 1.4 + 1.05 * legend * m.small_line)
    return m.line + 0.8 + m.side(_PANELS) + below


def _height(occluded: Occluded, m: Measures) -> float:
    """Of a picture's row: its name, the parameters, and the panels."""
    described = _parameters(occluded, m)
    lines = -(-_PANELS // m.across(_PANELS))
    above = (3.2 + len(described)) * m.line
    return above + lines * _panel_height(occluded, m) + (lines - 1) * m.gap / 2


def _draw_row(page: Page, y: float, occluded: Occluded, m: Measures) -> None:
    """One picture's row: what it is, and the five panels."""
    page.rule((m.margin, y), (m.margin + m.inner, y))
    y, found = _describe(page, y, occluded, m), occluded.found
    panels = _panels(y, occluded, m)
    titles = (
        "Occluded example",
        f"Projection, map {found.feature_map}",
        f"Total activation, map {found.feature_map}",
        "Probability of the class",
        "Most probable class",
    )
    size = min(fit(title, 1.125 * m.size, True, panels[0].width)[1] for title in titles)
    for panel, title in zip(panels, titles, strict=True):
        page.text(panel.x, panel.y - m.line - 0.8, title, size, bold=True, width=panel.width)
    _example(page, panels[0], occluded, m)
    _projection(page, panels[1], occluded, m)
    _scaled_map(
        page, panels[2], occluded, m, found.total, found.base_total, maps.ACTIVATION,
        "summed over the map", _LEAST_SHARE * float(np.abs(found.total).max()),
    )  # fmt: skip
    _scaled_map(
        page, panels[3], occluded, m, 100 * found.probability, 100 * found.base_probability,
        maps.PROBABILITY, "probability, %", _LEAST_PERCENT,
    )  # fmt: skip
    _class_map(page, panels[4], occluded, m)


def _panels(y: float, occluded: Occluded, m: Measures) -> list[Area]:
    """Where they stand, below `y`: side by side, or by twos."""
    pitch, side = _panel_height(occluded, m) + m.gap / 2, m.side(_PANELS)
    panels = []
    for n in range(_PANELS):
        down, right = divmod(n, m.across(_PANELS))
        x = m.margin + right * (side + m.gap)
        panels.append(Area(x, y + down * pitch + m.line + 0.8, side, side))
    return panels


def _parameters(occluded: Occluded, m: Measures) -> list[str]:
    """What was done, in lines."""
    found, settings = occluded.found, occluded.settings
    colour_name = "the mean colour" if settings.colour is None else settings.colour_name
    text = (
        f"{occluded.net}, layer {occluded.layer}, feature map {found.feature_map} (strongest "
        f"without occluder: {readable(found.activation)} at y = {found.place[0]}, "
        f"x = {found.place[1]}). Occluder {settings.occluder}×{settings.occluder} pixels of "
        f"{colour_name}, stride {settings.stride}, {len(found.tops)}×{len(found.lefts)} places."
    )
    return broken(text, m.size, m.inner)


def _describe(page: Page, y: float, occluded: Occluded, m: Measures) -> float:
    """What the picture and the parameters are; returns where the panels start."""
    found, title = occluded.found, occluded.picture.title
    size = 1.3 * m.size
    y = page.text(m.margin, y + 0.4 * m.line, title, size, bold=True, width=m.inner)
    text = f"Correct class: {_name(occluded, found.label)} ({_ORIGIN[occluded.class_from]})"
    colour = SECOND if occluded.class_from == "prediction" else INK
    y = page.text(m.margin, y, text, m.size, colour=colour, width=m.inner)
    for line in _parameters(occluded, m):
        y = page.text(m.margin, y, line, m.size, colour=QUIET)
    return y + 0.5 * m.line


def _example(page: Page, panel: Area, occluded: Occluded, m: Measures) -> None:
    page.picture(panel, maps.example(occluded), HAIR)
    _mark(page, panel, occluded)
    found, place = occluded.found, maps.example_place(occluded)
    lines = (
        f"here {_name(occluded, found.label)}: {100 * float(found.probability[place]):.1f} %,",
        f"without occluder: {100 * found.base_probability:.1f} %;",
        f"most probable here: {_name(occluded, int(found.top_class[place]))}",
    )
    y = panel.bottom + 1
    for line in lines:
        y = page.text(panel.x, y, line, m.small, colour=QUIET, width=panel.width)


def _projection(page: Page, panel: Area, occluded: Occluded, m: Measures) -> None:
    page.picture(panel, projection_contrast(occluded.projection), HAIR)
    text = f"all of {occluded.layer} is inactive: nothing to project"
    if occluded.found.activation > 0:
        page.box(panel.of_pixels(occluded.box, occluded.projection.shape[2]), ACCENT, 0.5)
        text = "box: what the activation sees"
    page.lines(panel.x, panel.bottom + 1, text, m.small, panel.width, colour=QUIET)


def _scaled_map(
    page: Page,
    panel: Area,
    occluded: Occluded,
    m: Measures,
    values: NDArray[np.floating],
    without: float,
    ramp: str,
    unit: str,
    least: float,
) -> None:
    """A map in colour, and its colour bar with what the value is without occluder.

    The colours span at least `least`, and what is flat is said in words: rounding errors are no
    picture.
    """
    high = max(float(values.max()), without)
    low = min(float(values.min()), without)
    if high - low <= _FLAT * least:
        in_words(page, panel, maps.hardly_changes(readable(low), readable(high), unit), m.size)
        return
    if high - low < least:
        low = max(0.0, high - least) if low >= 0 else high - least
    pixels = maps.ramped(maps.over_picture(occluded, values), (low, high), ramp)
    page.picture(panel, np.rint(pixels).astype(np.uint8), HAIR)
    _mark(page, panel, occluded)
    bar = Area(panel.x, panel.bottom + 1.8, panel.width, _BAR)
    gradient = maps.ramped(np.linspace(0, 1, 256)[None], (0.0, 1.0), ramp)
    page.picture(bar, np.rint(gradient).astype(np.uint8), HAIR)
    middle = bar.x + (without - low) / (high - low) * bar.width
    page.rule((middle, bar.y - 0.8), (middle, bar.bottom + 0.8), INK, 0.5)
    y = bar.bottom + 1
    page.text(bar.x, y, readable(low), m.small)
    page.text(bar.right, y, readable(high), m.small, align="right")
    page.text(bar.x + bar.width / 2, y, unit, m.small, align="center", width=0.66 * bar.width)
    text = f"line: {readable(without)} without occluder"
    page.text(bar.x, y + m.small_line, text, m.small, colour=QUIET, width=bar.width)


def _class_map(page: Page, panel: Area, occluded: Occluded, m: Measures) -> None:
    """Classes by colour, the correct one first, then by how often they come out on top."""
    found = occluded.found
    labels, counts = np.unique(found.top_class, return_counts=True)
    if len(labels) == 1:
        in_words(page, panel, maps.never_flips(_name(occluded, int(labels[0]))), m.size)
        return
    times = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    order = sorted(times, key=lambda label: (label != found.label, -times[label], label))
    correct, *rest = RANK_COLOURS[1], RANK_COLOURS[0], *RANK_COLOURS[2:]  # never another's colour
    palette = [correct, *rest] if order[0] == found.label else [*rest, _OTHER]
    colours = maps.class_colours(order, palette, _OTHER)
    page.picture(panel, maps.over_picture(occluded, maps.painted(found.top_class, colours)), HAIR)
    _mark(page, panel, occluded)
    entries = [
        (colours[label], _name(occluded, label), times[label])
        for label in order
        if colours[label] != _OTHER
    ]
    if others := [times[label] for label in order if colours[label] == _OTHER]:
        entries.append((_OTHER, f"{len(others)} other classes", sum(others)))
    y = panel.bottom + 1.4
    for colour, name, count in entries:
        _entry(page, panel, y, colour, name, count / found.top_class.size, m.small)
        y += 1.05 * m.small_line


def _entry(
    page: Page, panel: Area, y: float, colour: str, name: str, share: float, small: float
) -> None:
    box = small * POINT
    page.box(Area(panel.x, y + 0.15 * box, box, box), HAIR, 0.2, fill=colour)
    text = f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"
    page.text(panel.right, y, text, small, colour=QUIET, align="right")
    page.text(panel.x + 1.6 * box, y, name, small, width=panel.width - 1.6 * box - 9)


def _mark(page: Page, panel: Area, occluded: Occluded) -> None:
    """Where the occluder of the example stands."""
    box = panel.of_pixels(maps.example_box(occluded), occluded.projection.shape[2])
    page.box(box, INK, 0.35, casing=True)


def _name(occluded: Occluded, label: int) -> str:
    return occluded.class_name(label).replace("_", " ")
