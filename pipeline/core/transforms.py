"""Pictures moved, enlarged and turned: what a net's features should bear.

Zeiler & Fergus, *Visualizing and Understanding Convolutional Networks* (2013), section 2.2 and
figure 5.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import Tensor

Transform = Literal["translation", "scale", "rotation"]
TRANSFORMS: tuple[Transform, ...] = ("translation", "scale", "rotation")

_MOVED = 60 / 224
"""Of the height, at most, either way; as the other ranges it is the paper's."""


def amounts(transform: Transform, height: int) -> list[float]:
    """By how much pictures of a height are transformed: pixels down, a factor, degrees."""
    match transform:
        case "translation":
            farthest = round(_MOVED * height)
            steps = np.linspace(-farthest, farthest, 25).round()
        case "scale":
            steps = np.linspace(1, 1.8, 17)
        case "rotation":
            steps = np.linspace(0, 355, 72)
    return [float(step) for step in dict.fromkeys(steps.round(6).tolist())]


def transformed(
    image: Tensor, transform: Transform, amount: float, fill: Sequence[float]
) -> Tensor:
    """A picture moved down, enlarged about its middle, or turned clockwise about it.

    Args:
        image: uint8 (C, H, W).
        transform: how.
        amount: as `amounts` has them.
        fill: of each channel, what stands where the picture does not reach, 0 to 255.
    """
    if amount == (1 if transform == "scale" else 0):
        return image
    from torchvision.transforms import functional as F  # it takes longer than torch itself

    moved: Tensor = F.affine(
        image,
        angle=amount if transform == "rotation" else 0.0,
        translate=[0, round(amount) if transform == "translation" else 0],
        scale=amount if transform == "scale" else 1.0,
        shear=[0.0, 0.0],
        interpolation=F.InterpolationMode.BILINEAR,
        fill=list(fill),
    )
    return moved
