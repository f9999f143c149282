"""The two bands of the figure of one picture: every layer, and the top layer's feature maps.

A band is a part of a page, as wide as it is told to be; the poster has the same ones.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import HAIR, POINT, QUIET
from pipeline.atlas.drawing.type import fit, leading, text_width
from pipeline.atlas.drawing.words import in_words, readable
from pipeline.atlas.explain.items import (
    Item,
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

_FEW_PIXELS = 21
"""Of so many a side, pixels are shown as such."""

RANKS = 3
"""Winners of the run that are shown of a feature map."""


class Bands:
    """The two bands of a figure: measured once, drawn where they are told to stand.

    Args:
        width: of both, in millimetres.
        layers: how many the upper one shows.
        size: of the type, in points.
        winners: the run's, of the feature maps that were found, where a run is at hand.
        outputs: layer → the names of its maps, where these are the net's outputs.
    """

    def __init__(
        self,
        width: float,
        layers: int,
        size: float,
        winners: Winners | None = None,
        outputs: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.outputs = outputs or {}
        self.size, self.line, self.winners = size, leading(size), winners
        self.gap, self.gutter, self.header = 0.8 * self.line, 2.4 * self.line, 6.0 * self.line
        # two big pictures, one below the other, are as high as the columns beside them
        columns = max(4, layers)
        room = width - ((columns - 1) * self.gap + self.gutter)
        if winners is not None:
            rest = self.header + 2 * self.gap + self.line
            self.depth_cell = (room - rest / 2) / (columns + 1 + RANKS / 4)
        else:
            self.depth_cell = (room - self.header / 2) / (columns + 1)
        self.depth_height = self.header + 2 * self.depth_cell + self.gap / 2
        if winners is not None:
            pair = self.depth_cell / 2 + self.gap / 2
            self.depth_height += self.line + self.gap + RANKS * pair
        self.side = (self.depth_height - self.gap) / 2
        self.top_cell = (width - self.side - self.gutter - 2 * self.gap * 2) / 3
        height = self.header + (self.top_cell - self.gap / 2) / 2
        if winners is not None:
            height += self.line + 1.5 * self.gap + 2 * (self.top_cell / RANKS)
        self.top_height = max(self.side, height)

    def draw_depth(
        self, page: Page, x: float, y: float, explanation: Explanation, layers: Sequence[str]
    ) -> None:
        """The picture with a box per layer, its projections at their places, a column per layer.

        The upper left corner is at (x, y); the layers are as many as the bands were made for.
        """
        items = depth_items(explanation, layers)
        side, cell, pixels = self.side, self.depth_cell, explanation.picture.pixels
        above, below = Area(x, y, side, side), Area(x, y + side + self.gap, side, side)
        page.picture(above, pixels, HAIR)
        draw_boxes(page, above, items, pixels.shape[0], self.size, chips=True)
        page.picture(below, placed(items, pixels.shape[0]), HAIR)
        draw_boxes(page, below, items, pixels.shape[0], self.size)
        x, top = x + side + self.gutter, y + self.header
        lower = top + cell + self.gap / 2
        self._beside(page, x, top, cell, "in the picture")
        self._beside(page, x, lower, cell, "projection")
        others = top + 2 * cell + self.gap * 1.5
        self._say_others(page, x, others, "these feature maps", "projection and patch")
        name_size = min(fit(item.layer, self.size, False, cell)[1] for item in items)
        for item in items:
            places = Area(x, top, cell, cell), Area(x, lower, cell, cell)
            self._head(page, x, y, cell, item, name_size)
            if item.activation is None:
                self._inactive(page, Area(x, top, cell, places[1].bottom - top))
            else:
                self._pictures(page, places, item, explanation)
                self._others(page, Area(x, others, cell, 0), item, abreast=False)
            x += cell + self.gap

    def draw_top(self, page: Page, x: float, y: float, explanation: Explanation) -> None:
        """The top layer's strongest feature maps: boxes in the picture, a column for each."""
        items = top_items(explanation)
        side, cell, pixels = self.side, self.top_cell, explanation.picture.pixels
        half = (cell - self.gap / 2) / 2
        picture = Area(x, y, side, side)
        page.picture(picture, pixels, HAIR)
        draw_boxes(page, picture, items, pixels.shape[0], self.size, chips=True)
        x, top = x + side + self.gutter, y + self.header
        if not items:
            self._inactive(page, Area(x, top, 3 * cell, half))
            return
        self._beside(page, x, top, half, "picture, projection")
        others = top + half + self.gap
        self._say_others(page, x, others, "them", "projections above patches")
        name_size = fit(explanation.top, self.size, False, cell)[1]
        for item in items:
            self._head(page, x, y, cell, item, name_size)
            right = x + half + self.gap / 2
            places = Area(x, top, half, half), Area(right, top, half, half)
            self._pictures(page, places, item, explanation)
            self._others(page, Area(x, others, cell, 0), item, abreast=True)
            x += cell + 2 * self.gap

    def _head(
        self, page: Page, x: float, y: float, width: float, item: Item, name_size: float
    ) -> None:
        """Chip and map, then the layer, the activation and what it sees, above the pictures."""
        chip = page.chip(x, y, item.chip, self.size, item.colour)
        left = chip.right + self.gap / 2
        room = x + width - left
        title, facts, activation = "inactive", ["", ""], item.activation
        if activation is not None:
            title = f"map {activation.feature_map}"
            if named := self.outputs.get(item.layer):
                longer = f"{title}, {named[activation.feature_map]}"
                title = longer if text_width(longer, self.size, bold=True) <= room else title
            place = f"at y {activation.y}, x {activation.x}"
            facts = [f"activation {readable(activation.value)}", place]
        page.text(left, y + 0.1 * self.line, title, self.size, bold=True, width=room)
        y += 1.4 * self.line
        y = page.text(x, y, item.layer, name_size, width=width, keep_end=True)
        y += leading(self.size - name_size)
        rows, columns = item.sees
        for fact in (*facts, f"sees {columns}×{rows} px"):
            y = page.text(x, y, fact, 0.9 * self.size, colour=QUIET, width=width)

    def _pictures(
        self, page: Page, places: tuple[Area, Area], item: Item, explanation: Explanation
    ) -> None:
        """What the item sees of the picture, and its projection."""
        assert item.activation is not None
        pictures = explanation.patch(item.activation), item.activation.contrast
        for place, pixels in zip(places, pictures, strict=True):
            few = len(pixels) <= _FEW_PIXELS
            page.picture(place, squared(pixels), item.colour, 0.18 * self.line, sharp=few)

    def _inactive(self, page: Page, area: Area) -> None:
        text = "No activation: this picture leaves the whole layer at zero."
        in_words(page, area, text, self.size)

    def _say_others(self, page: Page, x: float, y: float, maps: str, order: str) -> None:
        if self.winners is not None:
            text = f"What else excites {maps}: winners of the run, {order}"
            page.text(x, y, text, self.size, colour=QUIET)

    def _others(self, page: Page, below: Area, item: Item, *, abreast: bool) -> None:
        """The run's winners of the item's map: pairs side by side, or one below the other."""
        if self.winners is None:
            return
        assert item.activation is not None
        rows = self.winners.get((item.layer, item.activation.feature_map))
        x, y, width = below.x, below.y + self.line + self.gap / 2, below.width
        if rows is None or not len(rows):
            page.lines(x, y, "not projected in this run", self.size, width, colour=QUIET)
            return
        across = RANKS if abreast else 2
        side = (width - (across - 1) * self.gap / 4) / across
        for n, (projection, patch) in enumerate(winner_pictures(rows, RANKS)):
            if abreast:
                x = below.x + n * (side + self.gap / 4)
                second = Area(x, y + side + self.gap / 4, side, side)
            else:
                second = Area(x + side + self.gap / 4, y, side, side)
            page.picture(Area(x, y, side, side), projection)
            page.picture(second, patch)
            if not abreast:
                y += width / 2 + self.gap / 2

    def _beside(self, page: Page, x: float, y: float, height: float, text: str) -> None:
        """Text beside a row of pictures, going up; where it does not fit, it is left out."""
        if text_width(text, 0.9 * self.size) < height:
            x, y = x - 0.9 * self.line, y + height / 2 - 0.65 * self.size * POINT
            page.text(x, y, text, 0.9 * self.size, colour=QUIET, rotation=90, align="center")
