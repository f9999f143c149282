"""How a feature map's activations depend on the class of the image."""

import numpy as np
from numpy.typing import NDArray


def selectivity(means: NDArray[np.floating]) -> NDArray[np.float64]:
    """The class selectivity index (Morcos et al., 2018).

    (μ_max - μ_rest) / (μ_max + μ_rest), where μ_max is the largest mean activation of a class, and
    μ_rest the mean of those of all other classes: 0 where all are alike, 1 where the map is active
    on one class alone.

    Args:
        means: (C, M) mean activation of each class; NaN where it is not known.

    Returns:
        (M,), NaN where there are less than two classes, the map is dead, or a mean is negative.
    """
    known, means = _usable(means)
    largest = means.max(0, initial=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = (means.sum(0) - largest) / (known.sum(0) - 1)
        index: NDArray[np.float64] = (largest - rest) / (largest + rest)
    return index


def class_entropy(means: NDArray[np.floating]) -> NDArray[np.float64]:
    """The entropy, in bits, of a map's mean activations over the classes.

    -Σ p_c log2 p_c, where p_c is the mean of class c as a share of the sum of all: 0 for one class
    alone, log2 C where all are alike.

    Args:
        means: (C, M), as for `selectivity`.

    Returns:
        (M,), NaN likewise.
    """
    known, means = _usable(means)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = means / means.sum(0)
        bits = np.where(shares > 0, shares * np.log2(shares), 0.0)
    entropy = -bits.sum(0) + 0.0
    return np.where((known.sum(0) > 1) & np.isfinite(shares).all(0), entropy, np.nan)


def _usable(
    means: NDArray[np.floating],
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which means are known, and all with zeros for the others; NaN for maps with negative ones."""
    known = np.isfinite(means)
    values = np.where(known, means, 0.0).astype(np.float64)
    return known, np.where((values < 0).any(0), np.nan, values)
