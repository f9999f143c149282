"""Coarse and fine: waves whose frequency is known."""

import numpy as np
import pytest

from pipeline.core.spectrum import band_shares, beyond_stride, grid_excess


def wave(side: int, down: float, across: float) -> np.ndarray:
    """A wave of so many cycles per pixel, without a mean."""
    place = np.arange(side)
    return np.cos(2 * np.pi * (down * place[:, None] + across * place) + 0.7)[None]


@pytest.mark.parametrize(
    ("frequency", "band"), [((0.0, 0.05), 0), ((0.1, 0.05), 0), ((0.25, 0.0), 1), ((0.3, 0.3), 2)]
)
def test_a_wave_is_in_its_band(frequency: tuple[float, float], band: int) -> None:
    low, high = band_shares(wave(60, *frequency))
    shares = [low, 1 - low - high, high]
    assert shares[band] > 0.9


def test_a_flat_filter_is_low_and_a_zero_one_is_nothing() -> None:
    low, high = band_shares(np.ones((3, 11, 11)))
    assert low > 0.9
    assert high < 0.05
    assert np.isnan(band_shares(np.zeros((3, 5, 5)))).all()
    pixel = np.zeros((1, 5, 5))
    pixel[0, 2, 2] = 1  # all frequencies alike: the bands' areas
    low, high = band_shares(pixel)
    assert low == pytest.approx(np.pi / 36, abs=0.01)
    assert high == pytest.approx(1 - np.pi / 9, abs=0.01)


def test_what_a_stride_folds_is_what_lies_beyond_its_half_cycle() -> None:
    fine, coarse = wave(48, 0.0, 0.3), wave(48, 0.05, 0.0)
    filters = np.stack([fine, coarse])
    assert beyond_stride(filters, (1, 1)) == 0
    assert beyond_stride(filters, (2, 2)) == pytest.approx(0.5, abs=0.02)
    assert beyond_stride(filters, (2, 1)) < 0.02  # the fine one goes across
    assert beyond_stride(3 * fine[None], (2, 2)) > 0.97


@pytest.mark.parametrize("period", [2, 4])
def test_a_grid_is_seen_and_noise_is_none(period: int) -> None:
    rng = np.random.default_rng(period)
    noise = rng.normal(size=(3, 63, 51))
    assert grid_excess(noise, period) == pytest.approx(1, abs=0.35)
    comb = np.zeros((63, 51))
    comb[::period, ::period] = 1
    assert grid_excess(noise + 6 * comb, period) > 5
    assert np.isnan(grid_excess(noise, 1))
    assert np.isnan(grid_excess(noise[:, :7], 2))
