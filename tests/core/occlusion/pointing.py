"""Where occlusion and projection point, and whether the object is there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.occlusion.occlusion import Sensitivity

_ON_OBJECT = 0.5
"""An occluder is on the object if this share of it is."""


@dataclass(frozen=True)
class Pointing:
    """Of one image whose object is known; probabilities are of the correct class.

    Attributes:
        occlusion_hits: whether the middle of the occluder lies on the object where the
            probability drops most.
        activation_hits: the same where the feature map's total activation drops most.
        projection_hits: whether the projection's strongest pixel lies on the object.
        energy_inside: share of the projection's energy (squares) on the object.
        object_share: the object's share of the image: what pointing blindly would hit.
        agree: whether the occluder, where the activation drops most, covers the projection's
            strongest pixel.
        agree_by_chance: share of the occluder's places that cover that pixel.
        correlation: Spearman's, over the occluder's places, of the drop of the activation and
            the projection's energy under the occluder; NaN where one of them is constant.
        drop_on_object: mean drop of the probability over places mostly on the object; NaN
            where there are none.
        drop_elsewhere: likewise over places that do not touch it.
        most_on_object: the largest drop of the probability over places mostly on the object.
        most_elsewhere: likewise over places that do not touch it.
    """

    occlusion_hits: bool
    activation_hits: bool
    projection_hits: bool
    energy_inside: float
    object_share: float
    agree: bool
    agree_by_chance: float
    correlation: float
    drop_on_object: float
    drop_elsewhere: float
    most_on_object: float
    most_elsewhere: float


def pointing(
    found: Sensitivity, size: int, projection: NDArray[np.floating], mask: NDArray[np.bool_]
) -> Pointing:
    """Compare an occlusion map and a projection with the object and with each other.

    Args:
        found: the occlusion map.
        size: the occluder's side.
        projection: (3, H, W) over the net's whole input.
        mask: (H, W), true on the object, in the net's input.
    """
    drop = found.base_probability - found.probability
    activation_drop = found.base_total - found.total
    energy = np.square(projection, dtype=np.float64).sum(0)
    peak = np.unravel_index(energy.argmax(), energy.shape)
    covered = _under(mask.astype(np.float64), found, size) / size**2
    at = np.unravel_index(activation_drop.argmax(), drop.shape)
    covers = _covers(found, size, int(peak[0]), int(peak[1]))
    on, off = drop[covered >= _ON_OBJECT], drop[covered == 0]
    return Pointing(
        occlusion_hits=_middle_hits(found, size, drop, mask),
        activation_hits=_middle_hits(found, size, activation_drop, mask),
        projection_hits=bool(mask[peak]),
        energy_inside=float(energy[mask].sum() / max(energy.sum(), np.finfo(float).tiny)),
        object_share=float(mask.mean()),
        agree=bool(covers[at]),
        agree_by_chance=float(covers.mean()),
        correlation=spearman(activation_drop, _under(energy, found, size)),
        drop_on_object=float(on.mean()) if on.size else float("nan"),
        drop_elsewhere=float(off.mean()) if off.size else float("nan"),
        most_on_object=float(on.max(initial=0)) if on.size else float("nan"),
        most_elsewhere=float(off.max(initial=0)) if off.size else float("nan"),
    )


def _middle_hits(
    found: Sensitivity, size: int, drop: NDArray[np.floating], mask: NDArray[np.bool_]
) -> bool:
    y, x = np.unravel_index(drop.argmax(), drop.shape)
    return bool(mask[found.tops[y] + size // 2, found.lefts[x] + size // 2])


def _under(values: NDArray[np.float64], found: Sensitivity, size: int) -> NDArray[np.float64]:
    """Sum of an (H, W) array under the occluder at each of its places, (R, Q)."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    top, left = found.tops[:, None], found.lefts[None]
    bottom, right = top + size, left + size
    under: NDArray[np.float64] = (
        sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    )
    return np.maximum(under, 0)  # a difference of sums may round to less


def _covers(found: Sensitivity, size: int, y: int, x: int) -> NDArray[np.bool_]:
    rows = (found.tops <= y) & (y < found.tops + size)
    columns = (found.lefts <= x) & (x < found.lefts + size)
    covers: NDArray[np.bool_] = rows[:, None] & columns[None]
    return covers


def spearman(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Rank correlation, equal values sharing their mean rank; NaN where one is constant."""
    ranks_a, ranks_b = _ranks(a.ravel()), _ranks(b.ravel())
    if np.ptp(ranks_a) == 0 or np.ptp(ranks_b) == 0:
        return float("nan")
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[which.ravel()]
    return ranks
