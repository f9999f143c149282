"""Positions of a layer, and the windows that some of them read of every map.

What a step holds for n seeds is a tensor (n, C, h, w): windows of equal size, each at a place of
its own. Where these reach over the border of a map, what they hold there is undefined: whoever
minds writes it anew, an operation that reads it with what it pads with.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.core.graph.receptive_field import Window, Windows, below
from pipeline.core.graph.steps import AvgPool, Pair, Step
from pipeline.core.graph.trace import Graph


@dataclass(frozen=True)
class Seeds:
    """Positions of one layer to project, n of them; int64 tensors of shape (n,).

    Attributes:
        image: which image of the ascent.
        feature_map: which channel.
        y: row in the feature map.
        x: column in the feature map.
    """

    image: Tensor
    feature_map: Tensor
    y: Tensor
    x: Tensor

    @classmethod
    def at(cls, feature_map: int, y: int, x: int, device: torch.device) -> "Seeds":
        """One position of the first image."""
        return cls(*(torch.tensor([number], device=device) for number in (0, feature_map, y, x)))

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, part: slice | Tensor) -> "Seeds":
        return Seeds(self.image[part], self.feature_map[part], self.y[part], self.x[part])


class WindowBatch:
    """Seeds of one layer whose windows are of equal size, and where these lie.

    Args:
        graph: the net.
        levels: for every step that the seeds read, their window there.
        seeds: n of them.
    """

    def __init__(self, graph: Graph, levels: dict[str, Windows], seeds: Seeds) -> None:
        self.graph, self.levels, self.seeds = graph, levels, seeds
        self._at = (seeds.y, seeds.x)
        self._found: dict[tuple[Windows, Pair], tuple[Tensor, ...] | None] = {}
        self._ends = tuple((int(at.min()), int(at.max())) for at in self._at)

    def read(self, step: Step, source: str) -> Windows:
        """The window of an input that a step reads to make its own."""
        return below(step.op, self.levels[step.name], self.graph.steps[source].shape[1:])

    def places(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Rows (n, h) and columns (n, w) of the map that the windows lie on."""
        y, x = (
            (at * window.stride + window.start)[:, None]
            + torch.arange(window.size, device=at.device)
            for at, window in zip(self._at, windows, strict=True)
        )
        return y, x

    def blank(self, values: Tensor, windows: Windows, size: Pair, fill: float = 0.0) -> None:
        """Overwrite what of (n, C, h, w) lies outside a map of a size."""
        outside = self._outside(windows, size)
        if outside is not None:
            values.permute(0, 2, 3, 1).index_put_(outside, values.new_tensor(fill))

    def _outside(self, windows: Windows, size: Pair) -> tuple[Tensor, ...] | None:
        """Seed, row and column of every place of windows that is not on a map of a size."""
        known = (windows, size)
        if known not in self._found:
            inside = all(
                first * window.stride + window.start >= 0
                and last * window.stride + window.start + window.size <= places
                for (first, last), window, places in zip(self._ends, windows, size, strict=True)
            )
            self._found[known] = None if inside else self._places_outside(windows, size)
        return self._found[known]

    def _places_outside(self, windows: Windows, size: Pair) -> tuple[Tensor, ...]:
        y, x = (
            (place < 0) | (place >= places)
            for place, places in zip(self.places(windows), size, strict=True)
        )
        return (y[:, :, None] | x[:, None]).nonzero(as_tuple=True)

    def fit(self, part: Tensor, held: Windows, wanted: Windows, fill: float = 0.0) -> Tensor:
        """Widen or crop (n, C, h, w) from one window to another of the same map."""
        margins: list[int] = []
        for axis in (1, 0):  # as padding is given: the last axis first
            one, other = held[axis], wanted[axis]
            before = one.start - other.start
            behind = other.size - one.size - before
            if one.stride != other.stride:
                part = self._move(part, axis, one, other, fill)
                margins += [0, 0]
            elif -min(before, behind) >= one.size:  # they have no place in common
                sizes = list(part.shape)
                sizes[axis + 2] = other.size
                part = part.new_full(sizes, fill)
                margins += [0, 0]
            else:  # the same for every seed
                margins += [before, behind]
        return F.pad(part, margins, value=fill) if any(margins) else part

    def _move(self, part: Tensor, axis: int, held: Window, wanted: Window, fill: float) -> Tensor:
        """From windows that move to the whole map, or back: each part has a place of its own."""
        first = self._at[axis] * (wanted.stride - held.stride) + wanted.start - held.start
        taken = first[:, None] + torch.arange(wanted.size, device=part.device)
        shape = (len(part), 1, -1, 1) if axis == 0 else (len(part), 1, 1, -1)
        index = taken.clamp(0, held.size - 1).view(shape)
        known = ((taken >= 0) & (taken < held.size)).view(shape)
        sizes = list(part.shape)
        sizes[axis + 2] = wanted.size
        moved = part.gather(axis + 2, index.expand(sizes))
        return moved.contiguous(memory_format=torch.channels_last).masked_fill_(~known, fill)


def shares(batch: WindowBatch, step: Step, like: Tensor) -> Tensor:
    """(n, 1, h, w): one over what an average divides each sum by; it differs at the border."""
    pool = step.op
    assert isinstance(pool, AvgPool)
    k, (_, height, width) = pool.kernel, step.shape
    y, x = batch.places(batch.levels[step.name])
    ones = like.new_ones(1, 1, *batch.graph.steps[step.inputs[0]].shape[1:])
    options = (k.size, k.stride, k.padding, pool.ceil_mode)
    total = F.avg_pool2d(ones, *options, divisor_override=1)
    mean = F.avg_pool2d(ones, *options, pool.count_include_pad, pool.divisor)
    share = (mean / total)[0, 0]
    return share[y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None]][:, None]
