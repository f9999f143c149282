"""Whether a net knows the same part in different pictures: by the signs of what hiding it changes.

Zeiler & Fergus, *Visualizing and Understanding Convolutional Networks* (2013), section 4.3: for
pictures i with features x_i of a layer, and x̃_i where a part is hidden, ε_i = x_i - x̃_i, and
Δ = Σ_{i≠j} H(sign(ε_i), sign(ε_j)) with the Hamming distance H. The lower, the more alike is what
the pictures lose. Here H is the share of the features whose signs differ, and what is told is its
mean over the pairs, as in the paper's table 1.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NOISE = 1e-5
"""Of a layer's largest value: a change that is no larger is rounding, and has the sign 0."""

Signs = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Of F features, packed into bits: which changes are positive, and which negative."""


def signs(own: Tensor, hidden: Tensor) -> Signs:
    """The signs of what hiding something changes in a layer's features.

    Args:
        own: (C, H, W) of the picture as it is.
        hidden: the same where something is hidden.
    """
    change = (own - hidden).flatten()
    noise = _NOISE * float(own.abs().max())
    return _packed(change > noise), _packed(change < -noise)


def _packed(values: Tensor) -> NDArray[np.uint8]:
    return np.packbits(values.cpu().numpy())


def hamming(one: Signs, other: Signs, features: int) -> float:
    """The share of the features whose signs differ.

    Args:
        one: of a picture.
        other: of another one.
        features: how many there are.
    """
    differ = (one[0] ^ other[0]) | (one[1] ^ other[1])
    return int(np.unpackbits(differ).sum()) / features


def hide(image: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """A copy of a normalised image (C, H, W) with a box of the mean colour.

    Args:
        image: the image.
        box: top, left, bottom, right in its pixels.
    """
    top, left, bottom, right = box
    hidden = torch.clone(image)
    hidden[:, top:bottom, left:right] = 0
    return hidden
