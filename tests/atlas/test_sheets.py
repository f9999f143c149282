import io

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.atlas import sheets
from pipeline.core.mask import mask_of
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


INPUT = (224, 224)


def layout_of(rows):
    return sheets.Layout.of(int(rows["rank"].max()), sheets.longest_side(rows), INPUT)


def at(picture, x, y):
    return picture.getpixel((x, y))


def test_projections_stand_in_order_beside_their_patches():
    rows = pd.DataFrame([winner(rank) for rank in (9, 1, 5, 2, 3, 4, 8, 7, 6)])
    layout = layout_of(rows)
    picture = sheets.sheet(rows, layout)
    assert layout.size == (497, 497)
    assert picture.size == (2 * 497 + sheets.SPINE, 497)
    for rank in range(1, 10):
        row, column = divmod(rank - 1, 3)
        x, y = 80 + column * 167, 80 + row * 167
        assert at(picture, x, y) == (rank * 20, 0, 0, 255)
        assert at(picture, 497 + sheets.SPINE + x, y) == (0, 0, rank * 20, 255)
    assert at(picture, 164, 80)[3] == 0  # a gutter is the page's own colour
    assert at(picture, 500, 80)[3] == 0


@pytest.mark.parametrize(("height", "width"), [(163, 163), (163, 90), (60, 163), (12, 12), (7, 12)])
def test_patches_are_dim_where_their_projections_keep_nothing(height, width):
    """The mask's cells lie where the projection's pixels do, the last ones beyond the box too."""
    projection = torch.zeros(3, height, width)
    projection[:, : height // 2, : width // 2] = torch.randn(3, height // 2, width // 2)
    mask, sink = mask_of(projection), io.BytesIO()
    Image.fromarray(mask.cells).save(sink, "PNG")
    row = {**winner(1, height, width, colour=RED), "mask": sink.getvalue()}
    rows = pd.DataFrame([row])
    layout = layout_of(rows)
    alpha = np.asarray(sheets.block(rows, "mask", layout))[..., 3]
    patch = np.asarray(sheets.block(rows, "patch", layout))
    shown = (patch[..., :3] == RED[::-1]).all(-1)
    assert (alpha[~shown] == 0).all()  # what is beside the box stays grey
    rows_of, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    high, wide = len(rows_of), len(columns)
    of_box = alpha[rows_of[0] : rows_of[-1] + 1, columns[0] : columns[-1] + 1]
    assert of_box[: high // 4, : wide // 4].max() < 60  # bright
    assert of_box[-high // 4 :, -wide // 4 :].min() > 190
    dimmed = np.asarray(sheets.sheet(rows, layout, kept="dimmed"))[:, -layout.size[0] :]
    usual = np.asarray(sheets.sheet(rows, layout))[:, -layout.size[0] :]
    darker = dimmed[..., 2].astype(int) < usual[..., 2]
    assert (darker == (alpha > 2)).mean() > 0.98


def test_what_a_projection_keeps_fills_its_cell_when_it_is_cropped():
    """Drawn out of the full picture: the square of a field of 300 pixels keeps its edges."""
    pixels = np.full((300, 300, 3), BLUE, np.uint8)
    pixels[120:180, 60:120] = RED
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    mask = dict(
        zip(
            ["mask_top", "mask_left", "mask_bottom", "mask_right"], (120, 60, 180, 120), strict=True
        )
    )
    box = {"rank": 1, "top": 0, "left": 0, "bottom": 300, "right": 300}
    rows = pd.DataFrame([{**box, **mask, "projection": sink.getvalue(), "patch": sink.getvalue()}])
    layout = sheets.Layout.of(1, 300, (300, 300))
    top, left, side = sheets.kept_square(rows.iloc[0], layout)
    assert side == pytest.approx(60 * layout.scale, abs=1)
    assert (top, left) == pytest.approx((120 * layout.scale, 60 * layout.scale), abs=1)
    cropped = np.asarray(sheets.sheet(rows, layout, kept="cropped"))
    for start in (0, layout.cell + sheets.SPINE):
        inside = cropped[6:-6, start + 6 : start + layout.cell - 6, :3]
        assert (inside == RED).all()


@pytest.mark.parametrize(("left", "where"), [(0, 163 - 40), (184, 0), (90, 61)])
def test_a_clipped_box_stands_where_it_does_in_the_field(left, where):
    """Cut off at the left border it is at the right of its cell, and the other way round."""
    clipped = {**winner(2, 163, 40, colour=BLUE), "left": left, "right": left + 40}
    rows = pd.DataFrame([winner(1, colour=RED), clipped])
    row = np.asarray(sheets.block(rows, "projection", layout_of(rows)))[80, 167 : 167 + 163, :3]
    blue = (row == BLUE).all(1)
    assert blue.sum() == 40
    assert abs(int(np.flatnonzero(blue)[0]) - where) <= 1
    assert (row[~blue] == MID_GREY).all()


def test_an_absent_rank_leaves_its_cell_empty_and_a_late_one_is_left_out():
    layout = sheets.Layout.of(4, 50, INPUT)
    rows = pd.DataFrame([winner(3, 50, 50, RED), winner(7, 50, 50, BLUE)])
    picture = sheets.block(rows, "projection", layout)
    assert layout.columns == layout.rows == 2
    solid = np.asarray(picture)[..., 3] > 0
    assert solid.sum() == layout.cell**2
    assert at(picture, 5, layout.cell + sheets.GUTTER + 5) == (*RED, 255)


def test_the_pixels_of_a_tiny_box_grow_alike():
    layout = sheets.Layout.of(9, 11, INPUT)
    assert layout.scale == 15
    assert layout.cell == 165


@given(st.integers(1, 40), st.integers(1, 600))
def test_layouts_are_near_square_and_cells_neither_tiny_nor_huge(cells, side):
    layout = sheets.Layout.of(cells, side, INPUT)
    assert layout.rows * layout.columns >= cells
    assert 0 <= layout.columns - layout.rows <= 1
    assert sheets.LARGEST_CELL / 2 <= layout.cell <= sheets.LARGEST_CELL
    assert layout.scale == int(layout.scale) or layout.scale < 1


def test_few_pixels_are_shown_as_pixels_and_more_are_smoothed():
    for side, alike in ((11, True), (50, False)):
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        row = {**winner(1, side, side), "patch": png(noise)}
        layout = sheets.Layout.of(9, side, INPUT)
        shown = np.asarray(sheets.cell(row, "patch", layout.cell, layout))[..., :3]
        factor = int(layout.scale)
        blocks = shown.reshape(side, factor, side, factor, 3)
        assert (blocks == blocks[:, :1, :, :1]).all() == alike


def test_a_large_box_shrinks_and_keeps_its_shape():
    row = winner(1, 224, 112, RED)
    layout = sheets.Layout.of(9, 224, INPUT)
    square = np.asarray(sheets.cell(row, "projection", 168, layout))[..., :3]
    red = (square == RED).all(2)
    assert red.any(1).sum() == 168
    assert red.any(0).sum() == 84


def test_a_sprite_has_a_cell_for_every_map():
    layout = sheets.Layout.of(9, 11, INPUT)
    cells = [sheets.cell(winner(1, 11, 11, (n, n, n)), "patch", 64, layout) for n in range(20)]
    picture = sheets.sprite([*cells[:17], None, *cells[18:]], 64)
    assert picture.size == (8 * 64, 3 * 64)
    assert at(picture, 3 * 64 + 30, 30) == (3, 3, 3, 255)
    assert at(picture, 2 * 64 + 30, 2 * 64 + 30) == (18, 18, 18, 255)
    assert (np.asarray(picture)[2 * 64 :, 64:128, 3] == 0).all()  # without a picture
    assert (np.asarray(picture)[2 * 64 :, 4 * 64 :, 3] == 0).all()


def test_small_projections_keep_their_contrast_and_patches_their_colours():
    signs = np.random.default_rng(0).integers(0, 2, (224, 224)) * 60 + 98  # averages out
    row = {**winner(1, 224, 224), "projection": png(np.repeat(signs[..., None], 3, 2).astype("u1"))}
    row["patch"] = row["projection"]
    layout = sheets.Layout.of(9, 224, INPUT)
    small = {kind: np.asarray(sheets.thumbnail(row, kind, 64, layout)) for kind in KINDS}
    assert np.abs(small["projection"][..., :3].astype(int) - MID_GREY).max() > 100
    assert np.abs(small["patch"][..., :3].astype(int) - MID_GREY).max() < 30


KINDS = ("projection", "patch")


def test_pictures_survive_and_the_same_gives_the_same():
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((163, 163), Image.Resampling.BICUBIC))
    rows = pd.DataFrame([{**winner(rank), "projection": png(smooth)} for rank in range(1, 10)])
    picture = sheets.block(rows, "projection", layout_of(rows))
    before = np.asarray(picture).astype(int)
    for encode in (sheets.as_avif, sheets.as_webp):
        data = encode(picture)
        assert data == encode(sheets.block(rows, "projection", layout_of(rows)))
        with Image.open(io.BytesIO(data)) as opened:
            back = np.asarray(opened.convert("RGBA")).astype(int)
        assert (abs(back - before)[..., 3] < 8).all()
        inside = before[..., 3] == 255
        assert abs(back - before)[inside].mean() < 6
        assert len(data) < 60_000


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_a_cell_is_colour_whatever_the_png_is(mode):
    sink = io.BytesIO()
    Image.new(mode, (20, 20)).save(sink, "PNG")
    row = {**winner(1, 20, 20), "patch": sink.getvalue()}
    assert sheets.cell(row, "patch", 20, sheets.Layout.of(1, 20, INPUT)).mode == "RGBA"
