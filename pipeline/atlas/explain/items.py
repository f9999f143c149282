"""What a figure of one picture shows: activations as numbered, coloured items, and boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.atlas.drawing.page import Area, Page, Pixels, chip_size
from pipeline.atlas.drawing.style import PAPER, RANK_COLOURS, depth_colours
from pipeline.atlas.drawing.type import leading
from pipeline.core.render import MID_GREY
from pipeline.data.findings import Activation, Explanation


@dataclass(frozen=True)
class Item:
    """A column of the figure: an activation, or the layer that has none."""

    chip: str
    colour: str
    layer: str
    activation: Activation | None
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
    sees = explanation.layers[-1].receptive_field.size
    activations = explanation.of(explanation.top)
    return [
        Item(chip, colour, explanation.top, activation, sees)
        for chip, colour, activation in zip("ABCDEF", RANK_COLOURS, activations, strict=False)
    ]


def placed(items: Sequence[Item], size: int) -> Pixels:
    """The projections at their places in the whole input, small ones above large ones."""
    canvas = np.full((size, size, 3), MID_GREY, np.uint8)
    activations = [item.activation for item in items if item.activation is not None]
    for activation in sorted(activations, key=lambda activation: -activation.projection.size):
        top, left, bottom, right = activation.box
        canvas[top:bottom, left:right] = activation.contrast
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
        (squared(_opened(projection)), squared(_opened(patch)))
        for projection, patch in zip(first["projection"], first["patch"], strict=True)
    ]


def _opened(png: bytes) -> Pixels:
    with Image.open(BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


def draw_boxes(
    page: Page, area: Area, items: Sequence[Item], pixels: int, size: float, chips: bool = False
) -> None:
    """The boxes of the items, largest first, in a picture `pixels` wide that fills an area.

    Lines follow from the `size` of the type, in points; `chips` number the boxes.
    """
    boxes = {
        item.chip: area.of_pixels(item.activation.box, pixels)
        for item in items
        if item.activation is not None
    }
    shown = [item for item in items if item.chip in boxes]
    for item in sorted(shown, key=lambda item: -boxes[item.chip].width * boxes[item.chip].height):
        page.box(boxes[item.chip], item.colour, 0.12 * leading(size) + 0.2, casing=True)
    taken: list[Area] = []
    for item in shown if chips else ():
        corner = _free_corner(boxes[item.chip], area, chip_size(item.chip, size), taken)
        taken.append(corner)
        page.box(corner.inset(-0.25), PAPER, 0, fill=PAPER)
        page.chip(corner.x, corner.y, item.chip, size, item.colour)


def _free_corner(box: Area, within: Area, size: tuple[float, float], taken: Sequence[Area]) -> Area:
    """Where a chip stands at its box: the first corner, outside or inside, that is free."""
    width, height = size
    small = box.width < 2.5 * width  # a chip inside would hide what is in it
    ys = [box.y - height, box.bottom] if small else [box.y, box.bottom - height]
    xs = [box.x, box.right - width] if not small else [box.x - width, box.right]
    corners = [Area(x, y, width, height) for y in ys for x in xs]
    corners += [Area(x, box.y + n * height, width, height) for x in xs for n in range(1, 4)]
    inside = [corner for corner in corners if within.contains(corner)]
    free = [corner for corner in inside if not any(corner.overlaps(chip) for chip in taken)]
    return (free or inside or corners)[0]
