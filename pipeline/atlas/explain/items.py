"""What a figure of one picture shows: activations as numbered, coloured items, and boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline.atlas.drawing.page import Area, Page, chip_size
from pipeline.atlas.drawing.style import PAPER, POINT, RANK_COLOURS, depth_colours
from pipeline.core.render import MID_GREY
from pipeline.data.findings import Activation, Explanation

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Measure:
    """The lengths of a band in millimetres, all following from the size of its type."""

    size: float = 8.0
    line: float = field(init=False)
    gap: float = field(init=False)
    gutter: float = field(init=False)
    header: float = field(init=False)

    def __post_init__(self) -> None:
        line = self.size * POINT * 1.3
        object.__setattr__(self, "line", line)
        object.__setattr__(self, "gap", 0.8 * line)
        object.__setattr__(self, "gutter", 2.4 * line)
        object.__setattr__(self, "header", 6.0 * line)


@dataclass(frozen=True)
class Item:
    """A column of the figure: an activation, or the layer that has none."""

    chip: str
    colour: str
    layer: str
    found: Activation | None
    sees: tuple[int, int]


def depth_items(explanation: Explanation, layers: Sequence[str]) -> list[Item]:
    """A column per layer, numbered and coloured by depth."""
    sees = {layer.name: layer.receptive_field.size for layer in explanation.layers}
    colours = depth_colours(len(layers))
    return [
        Item(str(n), colour, name, next(iter(explanation.of(name)), None), sees[name])
        for n, (name, colour) in enumerate(zip(layers, colours, strict=True), start=1)
    ]


def top_items(explanation: Explanation) -> list[Item]:
    """A column per feature map of the top layer; none if all of it is inactive."""
    top = explanation.layers[-1]
    return [
        Item("ABCDEF"[n], colour, top.name, one, top.receptive_field.size)
        for n, (one, colour) in enumerate(zip(explanation.of(top.name), RANK_COLOURS, strict=False))
    ]


def placed(items: Sequence[Item], size: int) -> Pixels:
    """The projections at their places in the whole input, small ones above large ones."""
    canvas = np.full((size, size, 3), MID_GREY, np.uint8)
    found = [item.found for item in items if item.found is not None]
    for one in sorted(found, key=lambda one: -one.projection.size):
        top, left, bottom, right = one.box
        canvas[top:bottom, left:right] = one.contrast
    return canvas


def squared(pixels: Pixels) -> Pixels:
    """A picture in the middle of a mid-grey square as wide as its longer side."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), MID_GREY, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def winner_pictures(rows: pd.DataFrame, ranks: int) -> list[tuple[Pixels, Pixels]]:
    """Projection and patch of the first winners of a feature map, each made square."""
    first = rows.sort_values("rank").head(ranks)
    return [
        (squared(opened(projection)), squared(opened(patch)))
        for projection, patch in zip(first["projection"], first["patch"], strict=True)
    ]


def opened(png: bytes) -> Pixels:
    """The pixels (H, W, 3) of a PNG."""
    with Image.open(BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


def draw_boxes(
    page: Page, area: Area, items: Sequence[Item], size: int, m: Measure, chips: bool = False
) -> None:
    """The boxes of the items in a picture of `size` pixels that fills `area`, largest first."""
    scale = area.width / size
    shown = [item for item in items if item.found is not None]
    places = {item.chip: _on(area, item, scale) for item in shown}
    for item in sorted(shown, key=lambda item: -places[item.chip].width * places[item.chip].height):
        page.box(places[item.chip], item.colour, 0.12 * m.line + 0.2, casing=True)
    taken: list[Area] = []
    for item in shown if chips else ():
        corner = _free_corner(places[item.chip], area, chip_size(item.chip, m.size), taken)
        taken.append(corner)
        page.box(corner.inset(-0.25), PAPER, 0, fill=PAPER)
        page.chip(corner.x, corner.y, item.chip, m.size, item.colour)


def _on(area: Area, item: Item, scale: float) -> Area:
    assert item.found is not None
    top, left, bottom, right = (side * scale for side in item.found.box)
    return Area(area.x + left, area.y + top, right - left, bottom - top)


def _free_corner(box: Area, within: Area, size: tuple[float, float], taken: Sequence[Area]) -> Area:
    """Where a chip stands at its box: the first corner, outside or inside, that is free."""
    width, height = size
    small = box.width < 2.5 * width  # a chip inside would hide what is in it
    ys = [box.y - height, box.bottom] if small else [box.y, box.bottom - height]
    xs = [box.x, box.right - width] if not small else [box.x - width, box.right]
    corners = [Area(x, y, width, height) for y in ys for x in xs]
    corners += [Area(x, box.y + n * height, width, height) for x in xs for n in range(1, 4)]
    inside = [c for c in corners if _contains(within, c)]
    free = [c for c in inside if not any(_overlap(c, other) for other in taken)]
    return (free or inside or corners)[0]


def _contains(outer: Area, inner: Area) -> bool:
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and inner.right <= outer.right
        and inner.bottom <= outer.bottom
    )


def _overlap(one: Area, other: Area) -> bool:
    return (
        one.x < other.right
        and other.x < one.right
        and one.y < other.bottom
        and other.y < one.bottom
    )
