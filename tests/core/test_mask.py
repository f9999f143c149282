"""Masks of projections: where they are strong, and how much of them that is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.mask import KEPT, mask_of


def blob(height: int, width: int, y: float, x: float, radius: float) -> torch.Tensor:
    """An edge, whose sign alternates, within a disc."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    stripes = torch.where((rows + columns) % 2 == 0, 1.0, -1.0)
    return (stripes * inside).repeat(3, 1, 1)


def test_a_mask_is_where_the_projection_is() -> None:
    mask = mask_of(blob(128, 96, 30, 60, 12))
    assert mask.size == 4
    assert mask.cells.shape == (32, 24)
    top, left, bottom, right = mask.box(128, 96)
    assert 10 <= top <= 20
    assert 40 <= bottom <= 52
    assert 40 <= left <= 50
    assert 70 <= right <= 82
    assert mask.share > 0.9
    assert mask.cells.mean() < 0.12


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(0, 1000), st.sampled_from([1e-20, 1, 1e20])
)
def test_it_holds_what_is_said_of_it(height: int, width: int, seed: int, scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    projection = torch.randn(3, height, width, generator=random) ** 5 * scale
    mask = mask_of(projection)
    pixels = np.kron(mask.cells, np.ones((mask.size, mask.size), bool))[:height, :width]
    magnitude = projection.double().square().sum(0).sqrt().numpy()
    assert mask.share == pytest.approx(magnitude[pixels].sum() / magnitude.sum(), rel=1e-9)
    top, left, bottom, right = mask.box(height, width)
    assert 0 <= top < bottom <= height
    assert 0 <= left < right <= width
    assert not pixels[:top].any()
    assert not pixels[bottom:].any()
    assert not pixels[:, :left].any()
    assert not pixels[:, right:].any()
    again = mask_of(projection * 3)
    assert (again.cells == mask.cells).mean() > 0.99


def test_small_fields_have_a_cell_for_each_pixel() -> None:
    mask = mask_of(torch.ones(3, 11, 7))
    assert (mask.size, mask.cells.shape) == (1, (11, 7))
    assert mask.cells.mean() == pytest.approx(KEPT, abs=0.02)


def test_what_is_zero_has_no_mask_and_the_whole_box() -> None:
    mask = mask_of(torch.zeros(3, 50, 40))
    assert not mask.cells.any()
    assert mask.share == 0.0
    assert mask.box(50, 40) == (0, 0, 50, 40)
