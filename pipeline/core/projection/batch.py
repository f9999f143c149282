"""Positions of a layer, and the windows that some of them read of every map."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.core.graph.receptive_field import Window, Windows, below
from pipeline.core.graph.steps import Pair, Step
from pipeline.core.graph.trace import Graph
from pipeline.core.windows.placed import Placed


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

    Nothing surrounds the windows. Where they reach over the border of a map, what they hold there
    is undefined: whoever minds writes it anew, an operation that reads it with what it pads with.

    Args:
        graph: the net.
        levels: for every step that the seeds read, their window there.
        seeds: n of them.
    """

    def __init__(self, graph: Graph, levels: dict[str, Windows], seeds: Seeds) -> None:
        self.graph, self.levels, self.seeds = graph, levels, seeds
        self._outside: dict[tuple[Windows, Pair], tuple[Tensor, ...] | None] = {}
        self._ends = tuple((int(at.min()), int(at.max())) for at in (seeds.y, seeds.x))

    def size(self, name: str) -> Pair:
        """(H, W) of a step's maps."""
        return self.graph.steps[name].shape[1:]

    def read(self, step: Step, source: str) -> Windows:
        """The window of an input that a step reads to make its own."""
        return below(step.op, self.levels[step.name], self.size(source))

    def placed(self, windows: Windows) -> Placed:
        """Where the windows of all seeds lie."""
        return Placed(windows, self.seeds.y, self.seeds.x)

    def region(
        self, source: str, values: Tensor, held: Placed, wanted: Placed, outside: float | None
    ) -> Tensor:
        """Widen or crop the windows of a step (see `forward.Surroundings`)."""
        if outside is None:
            return self.fit(values, held.windows, wanted.windows)
        self.blank(values, held.windows, self.size(source), outside)
        return self.fit(values, held.windows, wanted.windows, outside)

    def blank(self, values: Tensor, windows: Windows, size: Pair, fill: float = 0.0) -> None:
        """Overwrite what of (n, C, h, w) lies outside a map of a size."""
        known = (windows, size)
        if known not in self._outside:
            self._outside[known] = (
                None
                if self._are_inside(windows, size)
                else self.placed(windows).outside(size).nonzero(as_tuple=True)
            )
        places = self._outside[known]
        if places is not None:
            values.permute(0, 2, 3, 1).index_put_(places, values.new_tensor(fill))

    def _are_inside(self, windows: Windows, size: Pair) -> bool:
        return all(
            first * window.stride + window.start >= 0
            and last * window.stride + window.start + window.size <= places
            for (first, last), window, places in zip(self._ends, windows, size, strict=True)
        )

    def fit(self, part: Tensor, held: Windows, wanted: Windows, fill: float = 0.0) -> Tensor:
        """Widen or crop (n, C, h, w) from one window to another of the same map."""
        margins: list[int] = []
        for axis in (1, 0):  # as padding is given: the last axis first
            own, other = held[axis], wanted[axis]
            before = own.start - other.start
            behind = other.size - own.size - before
            if own.stride != other.stride:
                part = self._move(part, axis, own, other, fill)
                margins += [0, 0]
            elif -min(before, behind) >= own.size:  # they have no place in common
                sizes = list(part.shape)
                sizes[axis + 2] = other.size
                part = part.new_full(sizes, fill)
                margins += [0, 0]
            else:  # the same for every seed
                margins += [before, behind]
        return F.pad(part, margins, value=fill) if any(margins) else part

    def _move(self, part: Tensor, axis: int, held: Window, wanted: Window, fill: float) -> Tensor:
        """From windows that move to the whole map, or back: each part has a place of its own."""
        at = (self.seeds.y, self.seeds.x)[axis]
        first = at * (wanted.stride - held.stride) + wanted.start - held.start
        taken = first[:, None] + torch.arange(wanted.size, device=part.device)
        shape = (len(part), 1, -1, 1) if axis == 0 else (len(part), 1, 1, -1)
        index = taken.clamp(0, held.size - 1).view(shape)
        known = ((taken >= 0) & (taken < held.size)).view(shape)
        sizes = list(part.shape)
        sizes[axis + 2] = wanted.size
        moved = part.gather(axis + 2, index.expand(sizes))
        return moved.contiguous(memory_format=torch.channels_last).masked_fill_(~known, fill)
