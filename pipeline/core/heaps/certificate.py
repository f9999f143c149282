"""Which images must be looked at again after a screening, and when it can be proved enough.

Screening gives for every image and feature map a value s that is near the exact one, t. Of the
images looked at again both are known, so the error t - s is observed. An image not looked at can
only be a winner if its error exceeds its gap, the k-th best exact value less its own s. If errors
near the top of a map have tails no heavier than a normal distribution of the observed scale
sigma, the number of winners missed in that map is expected to be at most (Chernoff's bound)

    risk = sum over images not looked at of exp(-gap² / (2 sigma²)),

and a map is certified when this is below its share of the run's whole risk. Where it is not, the
images with the smallest gaps are looked at too, and the question is asked again.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RISK = 1e-3
"""Winners that a whole run is expected to miss at the most, over all of its feature maps."""

_LARGEST_IN_SCALES = 3.0
"""What the largest of some normal errors is, in scales: one beyond it means a heavier tail."""

_UNSURE = 2.33
"""Standard normal quantile: the scale is taken as large as it is likely to be, 99 in 100."""

_FEWEST_ERRORS = 6

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    """What is known of M feature maps, and what has to be looked at next.

    Attributes:
        certified: (M,) whether no image outside those looked at can be a winner.
        wanted: (M, D) the candidates to look at next; none of a map that is certified, nor of
            one that cannot be certified by looking at all candidates.
    """

    certified: Flags
    wanted: Flags


def screen_depth(k: int) -> int:
    """Screened values kept per feature map and part, and those near the top whose error counts."""
    return 2 * k + 32


def first_look(k: int) -> int:
    """Candidates of each map that are looked at before any error is known."""
    return max(_FEWEST_ERRORS, k + k // 2 + 4)


def scale_of_errors(errors: Floats) -> NDArray[np.float64]:
    """The scale of each map's errors: with few of them seen, larger than what was seen.

    Args:
        errors: (M, E), exact less screened; NaN where there is none.

    Returns:
        (M,), infinite where too few are known to tell.
    """
    known = np.isfinite(errors)
    count = known.sum(1)
    squares = np.where(known, errors.astype(np.float64), 0.0) ** 2
    n = np.maximum(count, _FEWEST_ERRORS)
    # a low quantile of chi-squared of n degrees of freedom (Wilson and Hilferty, 1931)
    low = n * np.maximum(1 - 2 / (9 * n) - _UNSURE * np.sqrt(2 / (9 * n)), 1e-3) ** 3
    scale = np.maximum(
        np.sqrt(squares.sum(1) / low), np.sqrt(squares.max(1, initial=0)) / _LARGEST_IN_SCALES
    )
    return np.where(count >= _FEWEST_ERRORS, scale, np.inf)


def judge(
    candidates: Floats,
    looked_at: Flags,
    outside: NDArray[np.int64],
    below: Floats,
    bars: Floats,
    scale: NDArray[np.float64],
) -> Verdict:
    """Judge M maps from D candidates each.

    Args:
        candidates: (M, D) screened values in descending order, -inf where there are fewer.
        looked_at: (M, D) whether the candidate's image has been looked at.
        outside: (M, S) how many images are no candidates, in S steps.
        below: (M, S) what the screened value of none of a step's images exceeds.
        bars: (M,) the k-th best exact value, 0 where fewer are above zero.
        scale: (M,) of the errors.
    """
    allowed = RISK / len(bars)
    unknown = ~looked_at & (candidates > -np.inf)
    risks = np.where(unknown, _risk(bars[:, None] - candidates, scale[:, None]), 0.0)
    risks_outside = outside * _risk(bars[:, None] - below, scale[:, None])
    rest = np.where(outside > 0, risks_outside, 0.0).sum(1)
    # risk that is left if all candidates before this one are looked at
    left = rest[:, None] + np.cumsum(risks[:, ::-1], 1)[:, ::-1]
    certified = left[:, 0] <= allowed
    hopeless = rest > allowed
    wanted = unknown & (left > allowed) & ~hopeless[:, None]
    return Verdict(certified, wanted)


def _risk(gap: NDArray[Any], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """A bound on the probability that a normal error of this scale reaches over the gap."""
    positive = np.maximum(gap.astype(np.float64), 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exponent = np.where(positive > 0, (positive / scale) ** 2 / 2, 0.0)
    return np.exp(-exponent)
