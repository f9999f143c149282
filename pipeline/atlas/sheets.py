"""The atlas' pictures: a sheet for every feature map, overviews for every layer.

They are WebP: at the same look a sheet has a fifth fewer bytes than as JPEG and a sixth of those
as PNG, which counts where an atlas has thousands. And it has transparency: the gutters between
the cells are the page's own colour, light or dark.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image, ImageDraw

from pipeline.core.render import MID_GREY

GUTTER = 4
"""Pixels between the cells of a sheet."""

SPINE = 24
"""Pixels between a sheet's projections and its patches."""

LARGEST_CELL = 168
"""Side of a sheet's cells in pixels, at most; a sheet of nine is then 1034 pixels wide."""

THUMBNAIL = 112
"""Side of an overview's cells in pixels."""

OVERVIEW_COLUMNS, OVERVIEW_ROWS = 16, 8
OVERVIEW_CELLS = OVERVIEW_COLUMNS * OVERVIEW_ROWS
"""Cells of a full overview; a layer with more feature maps has several."""

OVERVIEW_GUTTER = 4

_GREY = (MID_GREY, MID_GREY, MID_GREY, 255)
_CLEAR = (0, 0, 0, 0)
_MARK = (MID_GREY, MID_GREY, MID_GREY, 110)


@dataclass(frozen=True)
class Layout:
    """How the sheets of a layer are arranged: the same for all, so that they compare.

    Args:
        cells: ranks that are shown.
        columns: cells in a row of a block.
        cell: side of the square cells, in pixels of the sheet.
        scale: pixels of the sheet for one pixel of the net's input.
    """

    cells: int
    columns: int
    cell: int
    scale: float

    @classmethod
    def of(cls, cells: int, side: int) -> "Layout":
        """The layout for so many `cells` and boxes of at most `side` input pixels.

        Small receptive fields grow by the largest whole factor that fits, those of middling size
        keep their own pixels, only large ones shrink.
        """
        scale = LARGEST_CELL / side
        if scale >= 1:
            scale = math.floor(scale)
        columns = max(1, math.ceil(math.sqrt(cells)))
        return cls(cells, columns, round(side * scale), float(scale))

    @property
    def rows(self) -> int:
        """Rows of cells in a block."""
        return math.ceil(self.cells / self.columns)

    @property
    def block(self) -> tuple[int, int]:
        """Width and height of a block of cells, in pixels."""
        return _extent(self.columns, self.cell, GUTTER), _extent(self.rows, self.cell, GUTTER)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a sheet, in pixels."""
        width, height = self.block
        return 2 * width + SPINE, height


def sheet(rows: pd.DataFrame, layout: Layout | None = None) -> Image.Image:
    """A feature map at a glance: its projections, and in the same order the patches beside them.

    Args:
        rows: of one feature map, with the columns ``rank``, ``projection``, ``patch`` (PNG) and
            the box; in any order. The cell of a rank that is not there stays empty.
        layout: shared by the layer's sheets; by default the one that fits these rows.

    Returns:
        RGBA, of `layout.size`, with transparent gutters.
    """
    layout = layout or Layout.of(int(rows["rank"].max()), longest_side(rows))
    picture = Image.new("RGBA", layout.size, _CLEAR)
    patches_from = layout.block[0] + SPINE
    for rank, projection, patch in zip(
        rows["rank"], rows["projection"], rows["patch"], strict=True
    ):
        if rank > layout.cells:
            continue
        left, top = _corner(int(rank) - 1, layout.columns, layout.cell + GUTTER)
        picture.paste(cell(projection, layout.cell, layout.scale), (left, top))
        picture.paste(cell(patch, layout.cell, layout.scale), (patches_from + left, top))
    return picture


def cell(png: bytes, side: int, scale: float) -> Image.Image:
    """A picture on a grey square: enlarged by `scale`, never stretched, in the middle.

    A box that the border of the image clips is smaller than the others. Grey stands for what is
    missing: zero in a projection, and about what the net sees beyond the border.
    """
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    width, height = (min(side, max(1, round(length * scale))) for length in picture.size)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (side, side), _GREY)
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    return square


def overview(cells: Sequence[Image.Image | None]) -> Image.Image:
    """One small picture per feature map, in order, `OVERVIEW_COLUMNS` in a row.

    Args:
        cells: RGBA squares of `THUMBNAIL` pixels; None is a dead map, its cell is empty and
            crossed out.
    """
    rows = math.ceil(len(cells) / OVERVIEW_COLUMNS)
    width, height = (
        _extent(count, THUMBNAIL, OVERVIEW_GUTTER) for count in (OVERVIEW_COLUMNS, rows)
    )
    picture = Image.new("RGBA", (width, height), _CLEAR)
    for n, square in enumerate(cells):
        corner = _corner(n, OVERVIEW_COLUMNS, THUMBNAIL + OVERVIEW_GUTTER)
        picture.paste(square or _crossed_out(), corner)
    return picture


def encode(picture: Image.Image) -> bytes:
    """The WebP of `picture`; the same picture gives the same bytes."""
    sink = io.BytesIO()
    picture.save(sink, "WEBP", quality=80, method=2)
    return sink.getvalue()


def longest_side(boxes: pd.DataFrame) -> int:
    """The longest side among the `boxes` (top, left, bottom, right), in input pixels."""
    heights, widths = boxes["bottom"] - boxes["top"], boxes["right"] - boxes["left"]
    return int(max([1, *heights, *widths]))


def _corner(n: int, columns: int, pitch: int) -> tuple[int, int]:
    """Left and top of the nth cell, row by row."""
    row, column = divmod(n, columns)
    return column * pitch, row * pitch


def _extent(count: int, side: int, gutter: int) -> int:
    return max(0, count * (side + gutter) - gutter)


def _crossed_out() -> Image.Image:
    square = Image.new("RGBA", (THUMBNAIL, THUMBNAIL), _CLEAR)
    draw = ImageDraw.Draw(square)
    last, inset = THUMBNAIL - 1, round(THUMBNAIL * 0.4)
    draw.rectangle((0, 0, last, last), outline=_MARK)
    draw.line((inset, inset, last - inset, last - inset), fill=_MARK, width=2)
    draw.line((inset, last - inset, last - inset, inset), fill=_MARK, width=2)
    return square
