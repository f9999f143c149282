"""The atlas' pictures: two sheets for every feature map, sprites of many of them.

Projections are AVIF with a colour for every pixel: at the same bytes as WebP, which halves the
resolution of colours, they are 2 to 3 dB nearer to what they show, at twice the time (libaom's
fastest way). Patches and sprites are WebP. All have transparency: the gutters between the cells are
the page's own colour, light or dark.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.core.render import MID_GREY, projection_contrast

GUTTER = 4
"""Pixels between the cells of a sheet."""

SPINE = 24
"""Pixels between the projections of a whole sheet and its patches."""

LARGEST_CELL = 168
"""Side of a sheet's cells in pixels, at most; a sheet of nine is then 512 pixels wide."""

PIXELS_FROM = 8
"""How many times enlarged what is shown shows its pixels: fields of up to 21 of them."""

THUMBNAILS = {"small": 64, "large": 128}
"""Sides of the cells of sprites, in pixels."""

SPRITE_COLUMNS = 8
SPRITE_CELLS = SPRITE_COLUMNS**2
"""Feature maps in a sprite, at most: so many are loaded where one is seen."""

Kind = Literal["projection", "patch", "mask"]
"""Of what a block shows; of masks it is what dims the patches below it."""

Kept = Literal["", "dimmed", "cropped"]
"""What is made of a mask: patches are dimmed elsewhere, or both are cropped to it."""

_LEAST_KEPT = 0.125
"""Of a cell's side, what is cropped to at least."""

_DARK = 200
"""Of 255, how much is dimmed."""

_GREY = (MID_GREY, MID_GREY, MID_GREY, 255)
_CLEAR = (0, 0, 0, 0)


@dataclass(frozen=True)
class Layout:
    """How the sheets of a layer are arranged: the same for all, so that they compare.

    Args:
        cells: ranks that are shown.
        columns: cells in a row of a block.
        cell: side of the square cells, in pixels of the sheet.
        scale: pixels of the sheet for one pixel of the net's input.
        limits: (H, W) of the net's input, where boxes are cut off.
    """

    cells: int
    columns: int
    cell: int
    scale: float
    limits: tuple[int, int]

    @classmethod
    def of(cls, cells: int, side: int, limits: tuple[int, int]) -> "Layout":
        """The layout for so many `cells` and boxes of at most `side` input pixels.

        Small receptive fields grow by the largest whole factor that fits, those of middling size
        keep their own pixels, only large ones shrink.
        """
        scale = LARGEST_CELL / side
        if scale >= 1:
            scale = math.floor(scale)
        columns = max(1, math.ceil(math.sqrt(cells)))
        return cls(cells, columns, round(side * scale), float(scale), limits)

    @property
    def rows(self) -> int:
        """Rows of cells in a block."""
        return math.ceil(self.cells / self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a block of cells, in pixels."""
        pitch = self.cell + GUTTER
        return self.columns * pitch - GUTTER, self.rows * pitch - GUTTER


def sheet(rows: pd.DataFrame, layout: Layout, *, kept: Kept = "") -> Image.Image:
    """A feature map at a glance: the block of its projections, and that of the patches beside it.

    Args:
        rows: as for `block`.
        layout: of the blocks.
        kept: what is made of the masks.

    Returns:
        RGBA, with transparent gutters.
    """
    width, height = layout.size
    picture = Image.new("RGBA", (2 * width + SPINE, height), _CLEAR)
    picture.paste(block(rows, "projection", layout, cropped=kept == "cropped"), (0, 0))
    patches = block(rows, "patch", layout, cropped=kept == "cropped")
    if kept == "dimmed":
        patches.alpha_composite(block(rows, "mask", layout))
    picture.paste(patches, (width + SPINE, 0))
    return picture


def block(rows: pd.DataFrame, kind: Kind, layout: Layout, *, cropped: bool = False) -> Image.Image:
    """The projections of a feature map, or the patches, in the order of their ranks.

    Args:
        rows: of one feature map, with the columns ``rank``, `kind` (PNG) and the box; in any
            order. The cell of a rank that is not there stays empty.
        kind: which of them.
        layout: shared by the layer's sheets.
        cropped: whether a cell shows what is in the mask alone.

    Returns:
        RGBA, of `layout.size`, with transparent gutters.
    """
    picture = Image.new("RGBA", layout.size, _CLEAR)
    records: list[dict[str, Any]] = rows.to_dict("records")  # type: ignore[assignment]
    for row in records:
        if row["rank"] <= layout.cells:
            down, right = divmod(int(row["rank"]) - 1, layout.columns)
            corner = right * (layout.cell + GUTTER), down * (layout.cell + GUTTER)
            if kind == "mask":
                of_row = _shade(row, layout)
            else:
                of_row = (_cropped if cropped else _whole)(row, kind, layout)
            picture.paste(of_row, corner)
    return picture


def cell(row: Mapping[str, Any], kind: Kind, side: int, layout: Layout) -> Image.Image:
    """A picture of a winner on a grey square of `side` pixels, never stretched.

    A box that the border of the net's input cuts off is smaller than the others, and stands where
    it does in the whole. Grey stands for what is missing: zero in a projection, and about what the
    net sees beyond the border.
    """
    scale = layout.scale * side / layout.cell
    with Image.open(io.BytesIO(row[kind])) as opened:
        picture = opened.convert("RGB")
    width, height = (min(side, max(1, round(length * scale))) for length in picture.size)
    if (width, height) != picture.size:
        # Hamming's: as sharp as Lanczos' to the eye, in a third of the time
        few = layout.scale >= PIXELS_FROM
        how = Image.Resampling.NEAREST if few else Image.Resampling.HAMMING
        picture = picture.resize((width, height), how)
    square = Image.new("RGBA", (side, side), _GREY)
    square.paste(picture, _corner(row, picture.size, side, layout))
    return square


def _whole(row: Mapping[str, Any], kind: Kind, layout: Layout) -> Image.Image:
    return cell(row, kind, layout.cell, layout)


def _cropped(row: Mapping[str, Any], kind: Kind, layout: Layout) -> Image.Image:
    """What is kept, as large as a cell, out of a cell that is as much larger."""
    top, left, side = kept_square(row, layout)
    larger = round(layout.cell * layout.cell / side)
    x, y = (round(place * larger / layout.cell) for place in (left, top))
    return cell(row, kind, larger, layout).crop((x, y, x + layout.cell, y + layout.cell))


def kept_square(row: Mapping[str, Any], layout: Layout) -> tuple[int, int, int]:
    """Top, left and side, in pixels of a winner's cell, of a square around its mask."""
    sides = [row["bottom"] - row["top"], row["right"] - row["left"]]
    high, wide = (min(layout.cell, max(1, round(layout.scale * pixels))) for pixels in sides)
    x, y = _corner(row, (wide, high), layout.cell, layout)
    top, bottom = (
        y + layout.scale * (row[f"mask_{end}"] - row["top"]) for end in ("top", "bottom")
    )
    left, right = (
        x + layout.scale * (row[f"mask_{end}"] - row["left"]) for end in ("left", "right")
    )
    side = math.ceil(max(bottom - top, right - left, _LEAST_KEPT * layout.cell))
    side = min(side, layout.cell)
    places = (round((first + last - side) / 2) for first, last in ((top, bottom), (left, right)))
    top, left = (min(max(0, place), layout.cell - side) for place in places)
    return top, left, side


def _corner(
    row: Mapping[str, Any], size: tuple[int, int], side: int, layout: Layout
) -> tuple[int, int]:
    """Where a picture of a winner's box, of a width and height, stands in its square."""
    down = _share_before(row["top"], row["bottom"], layout.limits[0])
    right = _share_before(row["left"], row["right"], layout.limits[1])
    return round((side - size[0]) * right), round((side - size[1]) * down)


def _shade(row: Mapping[str, Any], layout: Layout) -> Image.Image:
    """What dims of a patch what its projection does not keep: black, and clear elsewhere."""
    with Image.open(io.BytesIO(row["mask"])) as opened:
        dark = np.where(np.asarray(opened), 0, _DARK).astype(np.uint8)
    height, width = row["bottom"] - row["top"], row["right"] - row["left"]
    size = max(1, -(-max(height, width) // max(dark.shape)))  # pixels of a cell
    scaled = [min(layout.cell, max(1, round(layout.scale * pixels))) for pixels in (width, height)]
    seen = (0, 0, width / size, height / size)  # of the cells: the last ones may reach beyond
    alpha = Image.fromarray(dark).resize(tuple(scaled), Image.Resampling.BILINEAR, seen)
    picture = Image.new("RGBA", alpha.size, _CLEAR)
    picture.putalpha(alpha)
    square = Image.new("RGBA", (layout.cell, layout.cell), _CLEAR)
    square.paste(picture, _corner(row, picture.size, layout.cell, layout))
    return square


def thumbnail(row: Mapping[str, Any], kind: Kind, side: int, layout: Layout) -> Image.Image:
    """The same, small. The signs of a projection average out: its contrast is stretched again."""
    picture = cell(row, kind, side, layout)
    if kind == "patch":
        return picture
    deviations = np.asarray(picture.convert("RGB")).astype(np.float64) - MID_GREY
    return Image.fromarray(projection_contrast(deviations.transpose(2, 0, 1))).convert("RGBA")


def _share_before(first: int, last: int, limit: int) -> float:
    """Of what is missing of a box along an axis, how much lies before it."""
    if (first > 0) == (last < limit):
        return 0.5
    return 1.0 if first == 0 else 0.0


def sprite(cells: Sequence[Image.Image | None], side: int) -> Image.Image:
    """One small picture per feature map, in order, `SPRITE_COLUMNS` in a row, without gutters.

    Args:
        cells: RGBA squares; None is a map that has no picture, and its cell is empty.
        side: of the cells, in pixels.
    """
    rows = math.ceil(len(cells) / SPRITE_COLUMNS)
    picture = Image.new("RGBA", (SPRITE_COLUMNS * side, rows * side), _CLEAR)
    for number, square in enumerate(cells):
        row, column = divmod(number, SPRITE_COLUMNS)
        if square is not None:
            picture.paste(square, (column * side, row * side))
    return picture


def as_avif(picture: Image.Image) -> bytes:
    """The AVIF of projections; the same picture gives the same bytes."""
    sink = io.BytesIO()
    how = {"quality": 60, "speed": 10, "subsampling": "4:4:4", "max_threads": 1, "codec": "aom"}
    picture.save(sink, "AVIF", **how, advanced={"alpha:lossless": "1"})  # else gutters are fuzzy
    return sink.getvalue()


def as_webp(picture: Image.Image) -> bytes:
    """The WebP of anything else; the same picture gives the same bytes."""
    sink = io.BytesIO()
    picture.save(sink, "WEBP", quality=80, method=2)
    return sink.getvalue()


def longest_side(boxes: pd.DataFrame) -> int:
    """The longest side among the `boxes` (top, left, bottom, right), in input pixels."""
    heights, widths = boxes["bottom"] - boxes["top"], boxes["right"] - boxes["left"]
    return int(max([1, *heights, *widths]))
