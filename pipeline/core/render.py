"""Projections as pictures: signed values become colours around mid-grey."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

_Number = TypeVar("_Number", bound=np.generic)

MID_GREY = 128
"""What a projection's zero looks like."""

PERCENTILE = 99.5
"""Magnitudes above this percentile are clipped: a few outliers would grey out all the rest."""


def projection_contrast(
    projection: "torch.Tensor | npt.NDArray[Any]", percentile: float = PERCENTILE
) -> npt.NDArray[np.uint8]:
    """A projection in colour: zero is exactly mid-grey, the two signs are equally strong.

    Each projection has a scale of its own, since magnitudes differ by orders between layers and
    winners: the percentile of the magnitudes of its *non-zero* values. Were the zeros counted, a
    sparse projection would be scaled by them, and the same projection would look different
    cropped to its receptive field and in the whole picture.

    The values are taken as they come, in the net's own input space. They are not multiplied by
    the standard deviations of the preprocessing: those are nearly equal over the channels of the
    usual nets, so that would shift the hues a little and claim a precision that is not there.

    Args:
        projection: shape (C, H, W), real, channels in the order of the net's input: grey, RGB or
            RGBA, of which alpha is not shown.
        percentile: of the non-zero magnitudes, in (0, 100].

    Returns:
        Shape (H, W, 3), values 1 to 255; `MID_GREY` wherever the projection is zero.

    Raises:
        ValueError: the shape is another, or a value is not finite.
    """
    values = _as_array(projection)
    if values.ndim != 3 or values.shape[0] not in (1, 3, 4):
        raise ValueError(f"a projection has shape (C, H, W) with C 1, 3 or 4, not {values.shape}")
    values = in_colour(values)
    if not np.isfinite(values).all():
        raise ValueError("a projection has finite values only")
    scaled = np.clip(_scaled(values, percentile), -1, 1)
    grey = MID_GREY + np.rint(scaled * (255 - MID_GREY))
    return np.ascontiguousarray(grey.astype(np.uint8).transpose(1, 2, 0))


def in_colour(channels: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """What is shown of the channels of a net's input: (C, H, W) to (3, H, W).

    Grey is shown as grey, and of R, G, B and alpha the colours.
    """
    return np.repeat(channels, 3, axis=0) if len(channels) == 1 else channels[:3]


def _as_array(projection: "torch.Tensor | npt.NDArray[Any]") -> npt.NDArray[np.float64]:
    if isinstance(projection, torch.Tensor):
        projection = projection.detach().to("cpu", torch.float64).numpy()
    return np.asarray(projection, dtype=np.float64)


def _scaled(values: npt.NDArray[np.float64], percentile: float) -> npt.NDArray[np.float64]:
    """`values` divided so that the percentile of their non-zero magnitudes becomes 1."""
    peak = np.abs(values).max(initial=0.0)
    if peak == 0:
        return values
    values = values / peak  # first, so that nothing below can overflow
    magnitudes = np.abs(values)
    scale = np.percentile(magnitudes[magnitudes > 0], percentile)
    return np.asarray(values / scale)
