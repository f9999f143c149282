import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.atlas import sheets
from pipeline.core.render import MID_GREY
from tests.atlas.synthetic_run import png

RED, BLUE = (220, 30, 30), (30, 30, 220)


def flat(colour, height, width):
    return png(np.broadcast_to(np.uint8(colour), (height, width, 3)).copy())


def winner(rank, height=163, width=163, colour=None):
    colour = colour or (rank * 20, 0, 0)
    return {
        "rank": rank,
        "projection": flat(colour, height, width),
        "patch": flat(colour[::-1], height, width),
        "top": 10,
        "left": 20,
        "bottom": 10 + height,
        "right": 20 + width,
    }


def at(picture, x, y):
    return picture.getpixel((x, y))


def test_projections_stand_in_order_beside_their_patches():
    rows = pd.DataFrame([winner(rank) for rank in (9, 1, 5, 2, 3, 4, 8, 7, 6)])
    picture = sheets.sheet(rows)
    layout = sheets.Layout.of(9, 163)
    assert picture.size == layout.size == (2 * 497 + sheets.SPINE, 497)
    for rank in range(1, 10):
        row, column = divmod(rank - 1, 3)
        x, y = 80 + column * 167, 80 + row * 167
        assert at(picture, x, y) == (rank * 20, 0, 0, 255)
        assert at(picture, 497 + sheets.SPINE + x, y) == (0, 0, rank * 20, 255)
    assert at(picture, 164, 80)[3] == 0  # a gutter is the page's own colour
    assert at(picture, 500, 80)[3] == 0


def test_a_clipped_box_is_smaller_not_stretched():
    rows = pd.DataFrame([winner(1, colour=RED), winner(2, 163, 40, colour=BLUE)])
    picture = sheets.sheet(rows)
    row = np.asarray(picture)[80, 167 : 167 + 163, :3]
    blue = (row == BLUE).all(1)
    assert blue.sum() == 40
    assert abs(np.flatnonzero(blue).mean() - 81) <= 1  # in the middle
    assert (row[~blue] == MID_GREY).all()


def test_an_absent_rank_leaves_its_cell_empty_and_a_late_one_is_left_out():
    layout = sheets.Layout.of(4, 50)
    picture = sheets.sheet(pd.DataFrame([winner(3, 50, 50, RED), winner(7, 50, 50, BLUE)]), layout)
    assert layout.columns == layout.rows == 2
    solid = np.asarray(picture)[..., 3] > 0
    assert solid.sum() == 2 * layout.cell**2
    assert at(picture, 5, layout.cell + sheets.GUTTER + 5) == (*RED, 255)


def test_the_pixels_of_a_tiny_box_grow_alike():
    layout = sheets.Layout.of(9, 11)
    assert layout.scale == 15
    assert layout.cell == 165


@given(st.integers(1, 40), st.integers(1, 600))
def test_layouts_are_near_square_and_cells_neither_tiny_nor_huge(cells, side):
    layout = sheets.Layout.of(cells, side)
    assert layout.rows * layout.columns >= cells
    assert 0 <= layout.columns - layout.rows <= 1
    assert sheets.LARGEST_CELL / 2 <= layout.cell <= sheets.LARGEST_CELL
    assert layout.scale == int(layout.scale) or layout.scale < 1


def test_a_large_box_shrinks_and_keeps_its_shape():
    square = np.asarray(sheets.cell(flat(RED, 224, 112), 168, 0.75))[..., :3]
    red = (square == RED).all(2)
    assert red.any(1).sum() == 168
    assert red.any(0).sum() == 84


def test_an_overview_has_a_cell_for_every_map_and_marks_the_dead():
    squares = [sheets.cell(flat((n, n, n), 11, 11), sheets.THUMBNAIL, 10) for n in range(20)]
    picture = sheets.overview([*squares[:17], None, *squares[18:]])
    pitch = sheets.THUMBNAIL + sheets.OVERVIEW_GUTTER
    assert picture.size == (16 * pitch - sheets.OVERVIEW_GUTTER, 2 * pitch - sheets.OVERVIEW_GUTTER)
    assert at(picture, 3 * pitch + 56, 56) == (3, 3, 3, 255)
    assert at(picture, 2 * pitch + 56, pitch + 56) == (18, 18, 18, 255)
    dead = np.asarray(picture)[pitch:, pitch : pitch + sheets.THUMBNAIL]
    assert 0 < (dead[..., 3] > 0).mean() < 0.2
    assert (np.asarray(picture)[pitch:, 4 * pitch :, 3] == 0).all()


def test_pictures_survive_as_webp_and_the_same_gives_the_same():
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((163, 163), Image.Resampling.BICUBIC))
    rows = pd.DataFrame([{**winner(rank), "projection": png(smooth)} for rank in range(1, 10)])
    picture = sheets.sheet(rows)
    data = sheets.encode(picture)
    assert data == sheets.encode(sheets.sheet(rows))
    with Image.open(io.BytesIO(data)) as opened:
        back = np.asarray(opened.convert("RGBA")).astype(int)
    before = np.asarray(picture).astype(int)
    np.testing.assert_array_equal(back[..., 3], before[..., 3])
    inside = before[..., 3] == 255
    assert abs(back - before)[inside].mean() < 6
    assert len(data) < 60_000


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_a_cell_is_colour_whatever_the_png_is(mode):
    sink = io.BytesIO()
    Image.new(mode, (20, 20)).save(sink, "PNG")
    assert sheets.cell(sink.getvalue(), 20, 1).mode == "RGBA"
