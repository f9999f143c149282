"""The panels of a poster that are its own: a layer's feature maps, and an occlusion experiment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.atlas.drawing.page import Area, Page, Pixels
from pipeline.atlas.drawing.style import HAIR, POINT, QUIET, RANK_COLOURS
from pipeline.atlas.drawing.type import LINE, fit, leading
from pipeline.atlas.drawing.words import in_words, readable
from pipeline.atlas.explain.items import winner_pictures
from pipeline.atlas.occlusion.maps import (
    ACTIVATION,
    PROBABILITY,
    class_colours,
    example,
    hardly_changes,
    never_flips,
    over_picture,
    painted,
    ramped,
)
from pipeline.atlas.poster.choice import RANKS, ShownMap
from pipeline.config import LayerSpec
from pipeline.core.render import projection_contrast
from pipeline.data.findings import Occluded

SMALL = 18.0
"""Size of the panels' type, in points."""

_LINE = leading(SMALL)
_LABEL = 98.0  # width of a layer's own column
_GOOD_LINE, _HIGHEST_LINE = 105.0, 150.0  # of feature maps
_FLAT = 0.01  # of probability
_OTHER = "#9aa0a6"
_RAMPS = {3: ACTIVATION, 4: PROBABILITY}
"""Of the pictures of an occlusion, those that are maps of numbers, and their colours."""


@dataclass(frozen=True)
class RowPlan:
    """How the layers' rows are arranged, the same for all of them, in millimetres.

    Attributes:
        height: of a layer.
        lines: of feature maps, one below the other, that it has.
        cell: side of a picture.
        tile: width of a feature map.
        across: how many stand side by side.
        gap: between them.
    """

    height: float
    lines: int
    cell: float
    tile: float
    across: int
    gap: float

    @property
    def maps(self) -> int:
        """How many there are of a layer."""
        return self.lines * self.across

    @classmethod
    def of(cls, width: float, room: float) -> "RowPlan":
        """The plan for layers of this width and at most this height: as many maps as fit."""
        lines = max(1, int(room // _GOOD_LINE))
        height = min(_HIGHEST_LINE, room / lines)
        cell = (height - 1.5 * _LINE - 2 - 13) / 2
        tile = RANKS * cell + 2 * (RANKS - 1)
        least = 9.0
        across = max(2, min(9, int((width - _LABEL + least) // (tile + least))))
        gap = (width - _LABEL - across * tile) / (across - 1)
        return cls(lines * height, lines, cell, tile, across, gap)


def name_size(layers: Sequence[LayerSpec]) -> float:
    """A size of type with which all the layers' names have room."""
    return min(fit(layer.name, 1.4 * SMALL, True, _LABEL - 8)[1] for layer in layers)


def draw_layer(
    page: Page,
    x: float,
    y: float,
    layer: LayerSpec,
    maps: Sequence[ShownMap],
    plan: RowPlan,
    size: float,
) -> None:
    """A layer: what it is, and its feature maps, projections above the patches they come from.

    The upper left corner is at (x, y); `size` is that of the layer's name, in points.
    """
    top, room = y + 1.5 * _LINE, _LABEL - 8
    page.text(x, top, layer.name, size, bold=True, width=room, keep_end=True)
    rows, columns = layer.receptive_field.size
    facts = (
        f"{layer.maps} maps",
        f"of {layer.size[1]}×{layer.size[0]}",
        f"each sees {columns}×{rows} px",
    )
    below = top + LINE * size * POINT + 0.6 * _LINE
    for fact in facts:
        below = page.text(x, below, fact, SMALL, colour=QUIET, width=room)
    for_note = plan.tile - 5.2 * _LINE
    note_size = min((fit(shown.note, SMALL, False, for_note)[1] for shown in maps), default=SMALL)
    for n, shown in enumerate(maps[: plan.maps]):
        line, column = divmod(n, plan.across)
        left = x + _LABEL + column * (plan.tile + plan.gap)
        over = y + line * plan.height / plan.lines
        top = over + 1.5 * _LINE
        page.text(left, over, f"map {shown.feature_map}", SMALL, bold=True)
        page.text(
            left + plan.tile, over + 0.5 * (_LINE - leading(note_size)), shown.note, note_size,
            colour=QUIET, align="right", width=for_note,
        )  # fmt: skip
        for rank, (projection, patch) in enumerate(winner_pictures(shown.winners, RANKS)):
            at = left + rank * (plan.cell + 2)
            page.picture(Area(at, top, plan.cell, plan.cell), projection)
            page.picture(Area(at, top + plan.cell + 2, plan.cell, plan.cell), patch)


class OcclusionPanel:
    """What hiding each place does to a feature map and to the prediction: six pictures, a legend.

    Args:
        width: in millimetres; the height follows from it.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self.cell = (width - 2 * 1.6 * SMALL * POINT * LINE) / 3
        self.height = 2 * (self.cell + 2.0 * _LINE) + 6.5 * _LINE

    def draw(self, page: Page, x: float, y: float, occluded: Occluded) -> None:
        """Draw an experiment, the upper left corner at (x, y)."""
        found, settings, cell = occluded.found, occluded.settings, self.cell
        name = occluded.class_name(found.label)
        predicted = " (the net's own prediction)" if occluded.class_from == "prediction" else ""
        file = occluded.picture.wanted.name.rpartition("/")[2]
        text = f"{file}, correct class: {name}{predicted}"
        y = page.text(x, y, text, SMALL, colour=QUIET, width=self.width) + 0.3 * _LINE
        total = over_picture(occluded, found.total)
        classes = over_picture(occluded, found.top_class)
        probability = over_picture(occluded, found.probability)
        limits = {3: (float(total.min()), float(total.max())), 4: (0.0, 1.0)}
        labels, counts = np.unique(classes, return_counts=True)
        order = labels[np.argsort(-counts, kind="stable")].tolist()
        colours = class_colours(order, RANK_COLOURS[:5], _OTHER)
        occluder = settings.occluder
        pictures = (
            ("picture", occluded.picture.pixels),
            (f"occluder {occluder}×{occluder}, stride {settings.stride}", example(occluded)),
            (
                f"projection of {occluded.layer}, map {found.feature_map}",
                projection_contrast(occluded.projection),
            ),
            ("total activation of that map", _ramped(total, limits[3], _RAMPS[3])),
            (f"probability of {name}", _ramped(probability, limits[4], _RAMPS[4])),
            ("most probable class", painted(classes, colours)),
        )
        words = _flat(occluded)
        for n, (title, pixels) in enumerate(pictures):
            row, column = divmod(n, 3)
            left, top = x + column * (cell + 1.6 * _LINE), y + row * (cell + 2.0 * _LINE)
            page.text(left, top, title, SMALL, width=cell)
            place = Area(left, top + 1.3 * _LINE, cell, cell)
            if n in words:
                in_words(page, place, words[n], SMALL)
                continue
            page.picture(place, pixels, HAIR, sharp=row == 1)  # maps of data
            if n in limits:
                _scale(
                    page,
                    Area(left, top + 1.5 * _LINE + cell, cell, 0.5 * _LINE),
                    limits[n],
                    _RAMPS[n],
                )
        if len(order) == 1:
            return
        left, top = x + 2 * (cell + 1.6 * _LINE), y + 2 * cell + 3.5 * _LINE
        legend = [
            (occluded.class_name(label), colours[label])
            for label in order
            if colours[label] != _OTHER
        ]
        if len(legend) < len(order):
            legend.append(("other classes", _OTHER))
        for entry, colour in legend:
            box = Area(left, top + 0.2 * _LINE, 0.7 * _LINE, 0.7 * _LINE)
            page.box(box, HAIR, 0, fill=colour)
            top = page.text(left + _LINE, top, entry, 0.85 * SMALL, width=cell - _LINE)


def _flat(occluded: Occluded) -> dict[int, str]:
    """Panels that would be of one colour, by number, and what to say instead."""
    probability, classes = occluded.found.probability, np.unique(occluded.found.top_class)
    low, high = float(probability.min()), float(probability.max())
    words = {}
    if high - low < _FLAT:
        words[4] = hardly_changes(readable(low), readable(high), "probability")
    if len(classes) == 1:
        words[5] = never_flips(occluded.class_name(int(classes[0])))
    return words


def _ramped(values: NDArray[np.floating], limits: tuple[float, float], ramp: str) -> Pixels:
    return ramped(values, limits, ramp).astype(np.uint8)


def _scale(page: Page, area: Area, limits: tuple[float, float], ramp: str) -> None:
    """A colour bar below a map, its ends in numbers."""
    page.picture(area, _ramped(np.linspace(0, 1, 64)[None], (0.0, 1.0), ramp), HAIR)
    y, (low, high) = area.bottom + 0.1 * _LINE, limits
    page.text(area.x, y, readable(low), 0.85 * SMALL)
    page.text(area.right, y, readable(high), 0.85 * SMALL, align="right")
