"""The figure of invariance: the paper's figure 5, a row for each transform."""

from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.atlas.drawing.chart import Chart, round_range
from pipeline.atlas.drawing.heading import headed_page
from pipeline.atlas.drawing.measures import WIDE, Measures
from pipeline.atlas.drawing.page import Area, Page, Pixels
from pipeline.atlas.drawing.style import QUIET, RANK_COLOURS

_TITLES = {
    "translation": "Translation, pixels down",
    "scale": "Scale, times",
    "rotation": "Rotation, degrees",
}
_ACROSS = 3  # pictures side by side in the first panel
_PANELS = 4
_DEGREES = 180.0  # amounts beyond this are of a rotation

READING = (
    "Pictures are moved, enlarged and turned before the net; each has a line in the colour of its "
    "frame. Distances are Euclid's, of a layer's features from those of the picture as it was, by "
    "the length of these. A layer that does not mind a transform stays near 0 (Zeiler and Fergus, "
    "2013, figure 5)."
)


def invariance_page(
    rows: pd.DataFrame,
    pictures: Mapping[str, Mapping[str, Pixels]],
    layers: tuple[str, str],
    caption: Sequence[str] = (),
    width: float = WIDE,
) -> Page:
    """The whole figure, on a page as high as it needs.

    Args:
        rows: of `experiment_columns.INVARIANCE`.
        pictures: transform → name of a picture → what it looks like then.
        layers: a low one and a high one.
        caption: lines about the run.
        width: in millimetres.
    """
    m = Measures(width)
    side = (m.inner - (_PANELS - 1) * m.gap) / _PANELS
    chart = 0.72 * side
    pitch = 1.6 * m.line + chart + 2.6 * m.line
    page, y = headed_page(
        "Invariance: pictures moved, enlarged and turned",
        (*caption, READING),
        m,
        len(_TITLES) * pitch,
    )
    names = list(dict.fromkeys(rows["image"]))
    colours = {name: RANK_COLOURS[n % len(RANK_COLOURS)] for n, name in enumerate(names)}
    for transform, text in _TITLES.items():
        of = rows[rows["transform"] == transform]
        panels = [
            Area(m.margin + n * (side + m.gap), y + 1.6 * m.line, side, chart)
            for n in range(_PANELS)
        ]
        _pictures(page, panels[0], pictures[transform], colours, text, m)
        for panel, layer in zip(panels[1:3], layers, strict=True):
            of_layer = of[of["layer"] == layer]
            _lines(page, panel, of_layer, "relative", f"Distance, {layer}", text, colours, m)
        of_layer = of[of["layer"] == layers[1]]
        about = "Probability of the class"
        _lines(page, panels[3], of_layer, "probability", about, text, colours, m)
        y += pitch
    return page


def _pictures(
    page: Page,
    area: Area,
    pictures: Mapping[str, Pixels],
    colours: Mapping[str, str],
    text: str,
    m: Measures,
) -> None:
    page.text(area.x, area.y - 1.5 * m.line, text, m.size, bold=True, width=area.width)
    down = -(-len(pictures) // _ACROSS)
    side = min((area.width - 2 * 1.5) / _ACROSS, (area.height - (down - 1) * 1.5) / down)
    for number, (name, pixels) in enumerate(pictures.items()):
        row, column = divmod(number, _ACROSS)
        place = Area(area.x + column * (side + 1.5), area.y + row * (side + 1.5), side, side)
        page.picture(place, pixels, colours[name], 0.8)


def _lines(
    page: Page,
    panel: Area,
    rows: pd.DataFrame,
    column: str,
    title: str,
    across: str,
    colours: Mapping[str, str],
    m: Measures,
) -> None:
    """A line for each picture, over the amounts."""
    page.text(panel.x, panel.y - 1.5 * m.line, title, m.size, bold=True, width=panel.width)
    if rows[column].isna().all():
        page.lines(panel.x, panel.y, "The net has no classifier.", m.size, panel.width)
        return
    highest = 1.0 if column == "probability" else float(rows[column].max())
    up, ticks = round_range([0.0, max(highest, 1e-9)])
    area = Area(panel.x + 7, panel.y, panel.width - 8, panel.height)
    first, last = float(rows["amount"].min()), float(rows["amount"].max())
    chart = Chart(page, area, (first, last), up, m.small)
    amounts = [0.0, 90.0, 180.0, 270.0] if last > _DEGREES else round_range([first, last])[1]
    xs = {at: f"{at:g}" for at in amounts if first <= at <= last}
    chart.axes(xs, {tick: f"{tick:g}" for tick in ticks})
    for name, of_picture in rows.groupby("image", sort=False):
        ordered = of_picture.sort_values("amount")
        chart.line(ordered["amount"].tolist(), ordered[column].tolist(), colours[str(name)], 0.4)
    page.text(
        area.x + area.width / 2, area.bottom + 1.1 * m.line, across, m.small,
        colour=QUIET, align="center", width=area.width,
    )  # fmt: skip
