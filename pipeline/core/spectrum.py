"""How much of filters and projections is coarse, how much is fine, and what strides leave in them.

Zeiler & Fergus, *Visualizing and Understanding Convolutional Networks* (2013), section 4.1 and
figure 6: with a first layer of 11 × 11 filters and a stride of 4, filters are of extremely high and
low frequencies with little between, and the layers above show the stride.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

LOW, HIGH = 1 / 6, 1 / 3
"""Cycles per pixel: below the first a frequency is low, from the second on it is high; the finest
that a row of pixels can show is a half."""

_SIDE = 64
"""Of the spectrum, at least: finer than that of a small filter by itself."""

_BESIDE = 1
"""Steps of the spectrum beside a frequency that belong to it."""


def band_shares(picture: Array) -> tuple[float, float]:
    """The shares of a picture's power at low and at high frequencies; the rest is between.

    Args:
        picture: (C, H, W) of a filter or a projection; its mean is of the lowest frequency.

    Returns:
        0 to 1 each; nan of a picture that is all zero.
    """
    power, down, across = _spectrum(picture)
    radius = np.hypot(down[:, None], across)
    total = power.sum()
    if not total > 0:
        return float("nan"), float("nan")
    return float(power[radius < LOW].sum() / total), float(power[radius >= HIGH].sum() / total)


def beyond_stride(filters: Array, stride: tuple[int, int]) -> float:
    """The share of filters' power that their stride cannot carry and folds onto lower frequencies.

    Args:
        filters: (N, C, H, W).
        stride: down and across; 1 carries everything.

    Returns:
        0 to 1: of the power of all filters together, what lies beyond a half cycle per step.
    """
    beyond = total = 0.0
    for each in filters:
        power, down, across = _spectrum(each)
        folded = (np.abs(down)[:, None] > 0.5 / stride[0]) | (np.abs(across) > 0.5 / stride[1])
        beyond += float(power[folded].sum())
        total += float(power.sum())
    return beyond / total if total > 0 else float("nan")


def grid_excess(projection: Array, period: int) -> float:
    """How much stronger than its surroundings a grid of some pixels is in a projection.

    A layer with a stride that filters through few places leaves a pattern that repeats with the
    stride: power at frequencies of i/period down and j/period across.

    Args:
        projection: (C, H, W).
        period: of the grid, in pixels.

    Returns:
        The mean power at these frequencies, by the mean power of all others that are not lower
        than half the lowest of them: 1 where there is no grid, nan where none could be seen.
    """
    height, width = projection.shape[1:]
    if period < 2 or min(height, width) < 4 * period:
        return float("nan")
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    power, down, across = _spectrum(projection * window)
    nearest = np.hypot(*np.meshgrid(_off(down, period), _off(across, period), indexing="ij"))
    radius = np.hypot(down[:, None], across)
    reach = (1.5 + _BESIDE) / min(height, width)  # as wide as the window makes a single wave
    on = (nearest <= reach) & (radius > reach)
    others = (nearest > reach) & (radius >= 0.5 / period)
    if not (on.any() and others.any() and power[others].mean() > 0):
        return float("nan")
    return float(power[on].mean() / power[others].mean())


def _off(frequencies: Array, period: int) -> Array:
    """How far frequencies are from the nearest multiple of one in `period` pixels."""
    steps = frequencies * period
    return np.asarray((steps - steps.round()) / period)


def _spectrum(picture: Array) -> tuple[Array, Array, Array]:
    """The power, summed over the channels, and its frequencies down and across."""
    height, width = (max(_SIDE, side) for side in picture.shape[1:])
    power = (np.abs(np.fft.fft2(picture.astype(np.float64), (height, width))) ** 2).sum(0)
    return power, np.fft.fftfreq(height), np.fft.fftfreq(width)
