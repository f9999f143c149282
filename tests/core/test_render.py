import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.core.render import MID_GREY, projection_contrast

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
projections = hnp.arrays(
    np.float32, st.tuples(st.just(3), *[st.integers(1, 9)] * 2), elements=finite
)


@settings(max_examples=100, deadline=None)
@given(projections)
def test_zero_is_grey_and_signs_mirror_each_other(projection):
    picture = projection_contrast(projection)

    assert picture.shape == (*projection.shape[1:], 3)
    assert picture.dtype == np.uint8
    colours = picture.transpose(2, 0, 1).astype(int) - MID_GREY
    assert (colours[projection == 0] == 0).all()
    assert (colours * np.sign(projection) >= 0).all()
    mirrored = projection_contrast(-projection).transpose(2, 0, 1).astype(int) - MID_GREY
    np.testing.assert_array_equal(mirrored, -colours)


@settings(max_examples=50, deadline=None)
@given(projections)
def test_a_larger_value_is_never_darker(projection):
    colours = projection_contrast(projection).transpose(2, 0, 1).ravel()
    assert (np.diff(colours[np.argsort(projection.ravel())].astype(int)) >= 0).all()


def test_the_scale_of_a_projection_does_not_matter():
    projection = torch.randn(3, 40, 30, generator=torch.Generator().manual_seed(0))
    once = projection_contrast(projection)
    np.testing.assert_array_equal(projection_contrast(projection * 1024), once)
    np.testing.assert_array_equal(projection_contrast(projection.double() / 4096), once)


def test_one_outlier_does_not_grey_out_the_rest():
    projection = np.random.default_rng(0).normal(size=(3, 60, 60))
    before = projection_contrast(projection).astype(int)
    projection[1, 30, 30] = 1e6
    after = projection_contrast(projection).astype(int)
    after[30, 30, 1] = before[30, 30, 1]
    assert abs(after - before).max() <= 2
    assert before.std() > 30  # the range is used


def test_zeros_around_a_projection_do_not_change_it():
    inner = np.random.default_rng(1).normal(size=(3, 11, 11))
    whole = np.zeros((3, 224, 224))
    whole[:, 50:61, 70:81] = inner
    picture = projection_contrast(whole)
    np.testing.assert_array_equal(picture[50:61, 70:81], projection_contrast(inner))
    picture[50:61, 70:81] = MID_GREY
    assert (picture == MID_GREY).all()


def test_nothing_is_plain_grey():
    assert (projection_contrast(torch.zeros(3, 5, 7)) == MID_GREY).all()
    assert projection_contrast(torch.zeros(3, 0, 7)).shape == (0, 7, 3)


def test_extreme_magnitudes_neither_overflow_nor_vanish():
    projection = np.zeros((3, 2, 2))
    projection[0] = [[1e308, -1e308], [5e-324, 0]]
    assert projection_contrast(projection)[0, :, 0].tolist() == [255, 1]
    projection[0] = [[5e-324, -5e-324], [0, 0]]
    assert projection_contrast(projection)[0, :, 0].tolist() == [255, 1]


def test_channels_stay_red_green_blue():
    projection = torch.zeros(3, 1, 1)
    projection[0] = 1
    assert projection_contrast(projection)[0, 0].tolist() == [255, MID_GREY, MID_GREY]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_must_be_finite(bad):
    projection = torch.zeros(3, 4, 4)
    projection[2, 1, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        projection_contrast(projection)


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4), (2, 3, 4, 4)])
def test_the_shape_must_be_a_projections(shape):
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        projection_contrast(torch.zeros(shape))
