"""How like two projections are, whatever their scales."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_WINDOW = 11
"""Of `structural_similarity`, in pixels; smaller pictures have a window that fits."""

_SIGMA = 1.5
_LARGEST = 255.0
_STABLE = ((0.01 * _LARGEST) ** 2, (0.03 * _LARGEST) ** 2)


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Spearman's: the correlation of the ranks, equal values having their mean rank.

    Args:
        one: of any shape.
        other: of the same.

    Returns:
        From -1 to 1; nan where all values of one of them are equal.
    """
    ranks = np.stack([_ranks(values) for values in (one, other)])
    ranks -= ranks.mean(1, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(1))
    if not lengths.all():
        return float("nan")
    return float(ranks[0] @ ranks[1] / (lengths[0] * lengths[1]))


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (counts.cumsum() - (counts - 1) / 2)[inverse.ravel()]
    return ranks


def structural_similarity(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """SSIM of two pictures: the mean over all windows that lie within them, and all colours.

    Wang, Bovik, Sheikh and Simoncelli, *Image quality assessment: from error visibility to
    structural similarity* (2004), with their constants and their Gaussian window of 11 pixels.

    Args:
        one: (H, W, C).
        other: of the same shape.

    Returns:
        From -1 to 1, which is for equal ones alone; what is flat and equal in both counts as 1.
    """
    a, b = (
        torch.from_numpy(np.asarray(part, np.float64)).permute(2, 0, 1) for part in (one, other)
    )
    moments = _means(torch.stack([a, b, a * a, b * b, a * b]))
    mean_a, mean_b, square_a, square_b, product = moments
    first, second = _STABLE
    alike = (2 * mean_a * mean_b + first) * (2 * (product - mean_a * mean_b) + second)
    total = mean_a**2 + mean_b**2 + first
    total = total * (square_a - mean_a**2 + square_b - mean_b**2 + second)
    return float((alike / total).mean())


def _means(pictures: Tensor) -> Tensor:
    """(N, C, H, W) averaged under a Gaussian window, wherever it lies within."""
    for axis in (2, 3):
        side = min(_WINDOW, pictures.shape[axis] - 1 + pictures.shape[axis] % 2)
        steps = torch.arange(side, dtype=torch.float64) - side // 2
        weights = torch.exp(-((steps / _SIGMA) ** 2) / 2)
        shape = [1, 1, 1, 1]
        shape[axis] = side
        flat = pictures.flatten(0, 1)[:, None]
        flat = F.conv2d(flat, (weights / weights.sum()).view(shape))
        pictures = flat.view(*pictures.shape[:2], *flat.shape[2:])
    return pictures
