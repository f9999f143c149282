"""Windows of equal size on one map, each at a place of its own."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.core.graph.receptive_field import Window, Windows, below
from pipeline.core.graph.steps import AvgPool, Op, Pair


@dataclass(frozen=True, eq=False)
class Placed:
    """n windows of a map; they may reach over its border.

    Attributes:
        windows: what a position sees of the map's rows and of its columns.
        y: (n,) rows of the positions.
        x: (n,) columns of the positions.
    """

    windows: Windows
    y: Tensor
    x: Tensor

    @classmethod
    def of_size(cls, size: Pair, top: Tensor, left: Tensor) -> "Placed":
        """Windows of a size (h, w), whose first rows and columns are given."""
        return cls((Window(size[0], 1, 0), Window(size[1], 1, 0)), top, left)

    @property
    def size(self) -> Pair:
        """(h, w) of each window."""
        return self.windows[0].size, self.windows[1].size

    @property
    def first(self) -> tuple[Tensor, Tensor]:
        """The first row (n,) and the first column (n,) of each window."""
        rows, columns = self.windows
        return self.y * rows.stride + rows.start, self.x * columns.stride + columns.start

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """The rows (n, h) and the columns (n, w) of the map that the windows lie on."""
        y, x = (
            first[:, None] + torch.arange(side, device=first.device)
            for first, side in zip(self.first, self.size, strict=True)
        )
        return y, x

    def outside(self, size: Pair) -> Tensor:
        """(n, h, w) bool, whether a place lies outside a map of a size."""
        y, x = (
            (place < 0) | (place >= side) for place, side in zip(self.places, size, strict=True)
        )
        return y[:, :, None] | x[:, None]

    def flat(self, width: int) -> Tensor:
        """(n, h, w) the places in a map of a width, flattened."""
        y, x = self.places
        return (y * width)[:, :, None] + x[:, None]

    def read_by(self, op: Op, size: Pair) -> "Placed":
        """What an operation reads of its input of `size` (H, W) to make these windows."""
        return Placed(below(op, self.windows, size), self.y, self.x)

    def within(self, other: "Placed") -> "Placed":
        """The same windows, seen from the first place of the other ones."""
        (top, left), (other_top, other_left) = self.first, other.first
        return Placed.of_size(self.size, top - other_top, left - other_left)

    def is_at(self, other: "Placed") -> bool:
        """Whether they cover exactly the places of the other ones."""
        return self.size == other.size and all(map(torch.equal, self.first, other.first))


def shares(pool: AvgPool, size: Pair, placed: Placed, like: Tensor) -> Tensor:
    """One over what an average divides each sum by; it differs at the border.

    Args:
        pool: the average.
        size: (H, W) of its input.
        placed: windows of its output.
        like: of the type and on the device that the shares are wanted.

    Returns:
        (n, 1, h, w).
    """
    k, ones = pool.kernel, like.new_ones(1, 1, *size)
    options = (k.size, k.stride, k.padding, pool.ceil_mode)
    total = F.avg_pool2d(ones, *options, divisor_override=1)
    mean = F.avg_pool2d(ones, *options, pool.count_include_pad, pool.divisor)
    share = (mean / total)[0, 0]
    y, x = (
        place.clamp(0, side - 1)  # outside the map any share will do
        for place, side in zip(placed.places, share.shape, strict=True)
    )
    return share[y[:, :, None], x[:, None]][:, None]
