"""The figure of correspondence: what is hidden, and how alike is what pictures lose by it."""

from collections.abc import Mapping, Sequence

from pipeline.atlas.drawing.chart import Chart, round_range
from pipeline.atlas.drawing.heading import headed_page
from pipeline.atlas.drawing.measures import WIDE, Measures
from pipeline.atlas.drawing.page import Area, Page, Pixels
from pipeline.atlas.drawing.style import HAIR, INK, QUIET, RANK_COLOURS
from pipeline.atlas.drawing.type import text_width
from pipeline.data.object_parts import RANDOM

_GAP = 2.0  # between pictures, in millimetres
_RANDOM_COLOUR = "#8a8f98"

READING = (
    "The same part is hidden in several pictures. Each layer's features change; the chart tells in "
    "what share of them the signs of the changes differ between two pictures: mean and standard "
    "deviation over all pairs. Where a part lies lower than random places of the object, what the "
    "pictures lose by it is more alike: the layer knows it as the same part (Zeiler and Fergus, "
    "2013, table 1)."
)

Summary = Mapping[str, Mapping[str, tuple[float, float]]]
"""Hidden part → layer, in order → mean and standard deviation over the pairs."""


def correspondence_page(
    summary: Summary,
    pictures: Sequence[tuple[str, Sequence[tuple[str, Pixels]]]],
    caption: Sequence[str] = (),
    width: float = WIDE,
) -> Page:
    """The whole figure, on a page as high as it needs.

    Args:
        summary: what was found.
        pictures: name, and of each part what the picture is without it.
        caption: lines about the run.
        width: in millimetres.
    """
    m = Measures(width)
    parts = list(summary)
    side = min(0.16 * m.inner, (m.inner - len(parts) * _GAP) / (len(parts) + 1))
    chart = 0.28 * m.inner
    table = (1 + len(parts)) * 1.3 * m.line
    top = 1.6 * m.line + max(chart + 2 * m.line, table) + m.gap
    rows = len(pictures) * (side + m.small_line + _GAP)
    page, y = headed_page("Correspondence of parts", (*caption, READING), m, top + m.line + rows)
    colours = {part: _colour(part, number) for number, part in enumerate(parts)}
    half = 0.5 * m.inner - m.gap
    area = Area(m.margin + 9, y + 1.6 * m.line, half - 9, chart)
    _chart(page, area, summary, colours, m)
    _table(page, m.margin + half + m.gap, y + 1.6 * m.line, half + m.gap, summary, colours, m)
    y += top
    for column, part in enumerate(["picture", *parts]):
        x = m.margin + column * (side + _GAP)
        page.text(x, y, part, m.small, bold=True, width=side)
    y += m.line
    for name, hidden in pictures:
        by_part = dict(hidden)
        for column, part in enumerate(["picture", *parts]):
            if part in by_part:
                area = Area(m.margin + column * (side + _GAP), y, side, side)
                page.picture(area, by_part[part], HAIR)
        page.text(m.margin, y + side + 0.3, name, m.small, colour=QUIET, width=m.inner)
        y += side + m.small_line + _GAP
    return page


def _colour(part: str, number: int) -> str:
    return _RANDOM_COLOUR if part == RANDOM else RANK_COLOURS[number % len(RANK_COLOURS)]


def _chart(
    page: Page, area: Area, summary: Summary, colours: Mapping[str, str], m: Measures
) -> None:
    """A line for each part, over the layers."""
    layers = list(next(iter(summary.values())))
    page.text(
        area.x - 9, area.y - 1.6 * m.line, "Signs that differ, share of features", m.size, bold=True
    )
    highest = max(
        mean + deviation for of_part in summary.values() for mean, deviation in of_part.values()
    )
    up, ticks = round_range([0.0, highest])
    chart = Chart(page, area, (-0.4, len(layers) - 0.6), up, m.small)
    names = {float(number): layer for number, layer in enumerate(layers)}
    chart.axes(names, {tick: f"{tick:g}" for tick in ticks})
    for number, (part, of_part) in enumerate(summary.items()):
        shift = 0.08 * (number - (len(summary) - 1) / 2)
        xs = [place + shift for place in range(len(layers))]
        means = [mean for mean, _ in of_part.values()]
        chart.line(xs, means, colours[part], 0.4, dashed=part == RANDOM)
        chart.dots(xs, means, colours[part], 1.6)
        for x, (mean, deviation) in zip(xs, of_part.values(), strict=True):
            ends = (chart.y(mean - deviation), chart.y(mean + deviation))
            page.rule((chart.x(x), ends[0]), (chart.x(x), ends[1]), colours[part], 0.3)


def _table(
    page: Page,
    x: float,
    y: float,
    width: float,
    summary: Summary,
    colours: Mapping[str, str],
    m: Measures,
) -> None:
    """The paper's table: a line for each part, a column for each layer, as far as there is room."""
    first = max(text_width(part, m.size) for part in summary) + 8
    needed = text_width("0.000 ± 0.000", m.size) + 3
    layers = list(next(iter(summary.values())))[-max(1, int((width - first) / needed)) :]
    for number, layer in enumerate(layers):
        page.text(x + first + number * needed, y, layer, m.size, bold=True, width=needed - 2)
    for part, of_part in summary.items():
        y += 1.3 * m.line
        page.box(Area(x, y + 0.3 * m.line, 3, 0.4 * m.line), colours[part], 0, fill=colours[part])
        page.text(x + 4.5, y, part, m.size)
        for number, layer in enumerate(layers):
            mean, deviation = of_part[layer]
            text = f"{mean:.3f} ± {deviation:.3f}"
            page.text(x + first + number * needed, y, text, m.size, colour=INK)
