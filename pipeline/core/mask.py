"""What of a receptive field a projection keeps: deep fields are as large as the picture."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

KEPT = 0.9
"""Of the smoothed magnitude, what lies in the mask."""

_CELLS = 32
"""Of a mask along the longer side, at most; smaller fields have a cell for each pixel."""

_SIGMA = 1.5
"""Of the Gaussian that smooths, in cells."""


@dataclass(frozen=True)
class Mask:
    """Where a projection is strong.

    Attributes:
        cells: (h, w) bool, squares of `size` pixels of the field, from its top left.
        size: of a cell, in pixels of the net's input.
        share: of the projection's magnitude, what lies in the mask.
    """

    cells: NDArray[np.bool_]
    size: int
    share: float

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, bottom, right of the mask in a field of so many pixels, half-open."""
        rows, columns = (np.flatnonzero(self.cells.any(axis)) for axis in (1, 0))
        if not len(rows):
            return 0, 0, height, width
        bottom, right = (self.size * (int(places[-1]) + 1) for places in (rows, columns))
        top, left = (self.size * int(places[0]) for places in (rows, columns))
        return top, left, min(bottom, height), min(right, width)


def mask_of(projection: Tensor) -> Mask:
    """The fewest cells that hold `KEPT` of the smoothed magnitude of a projection.

    The magnitude of a pixel is the root of its channels' squares; it is averaged over cells and
    smoothed by a Gaussian, so that the mask is of places and not of edges.

    Args:
        projection: (C, H, W) of a field.
    """
    magnitude = projection.detach().double().square().sum(0).sqrt()
    height, width = magnitude.shape
    size = -(-max(height, width) // _CELLS)
    padded = F.pad(magnitude[None, None], (0, -width % size, 0, -height % size))
    cells = F.avg_pool2d(padded, size)
    smooth = _smoothed(cells)[0, 0]
    values, order = smooth.flatten().sort(descending=True, stable=True)
    total = values.sum()
    if not float(total) > 0:
        return Mask(np.zeros(tuple(smooth.shape), bool), size, 0.0)
    count = int((values.cumsum(0) < KEPT * total).sum()) + 1
    chosen = torch.zeros(smooth.numel(), dtype=torch.bool, device=smooth.device)
    chosen[order[:count]] = True
    chosen = chosen.view(smooth.shape)
    share = float((cells[0, 0] * chosen).sum() / cells.sum())
    return Mask(chosen.cpu().numpy(), size, share)


def _smoothed(cells: Tensor) -> Tensor:
    """(1, 1, h, w), by a Gaussian of which nothing is lost at the border."""
    reach = int(3 * _SIGMA)
    steps = torch.arange(-reach, reach + 1, dtype=cells.dtype, device=cells.device)
    weights = torch.exp(-((steps / _SIGMA) ** 2) / 2)
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        kernel = weights.view(shape)
        padding = [side // 2 for side in kernel.shape[2:]]
        inside = F.conv2d(torch.ones_like(cells), kernel, padding=padding)
        cells = F.conv2d(cells, kernel, padding=padding) / inside
    return cells
