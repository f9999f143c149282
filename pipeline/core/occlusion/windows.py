"""Windows of maps: how those of many occluders share a size, and what lies around them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.core.occlusion.changes import Places, Spans


@dataclass(frozen=True)
class Group:
    """Places of the occluder along one axis whose windows have one size at each step.

    Attributes:
        members: (m,) indices of the places.
        first: step → (m,) where each one's window starts.
        size: step → places of the window.
    """

    members: Places
    first: dict[str, Places]
    size: dict[str, int]


def grouped(
    spans: dict[str, Spans], lengths: dict[str, int], weights: dict[str, float], most: int
) -> list[Group]:
    """Sort the places of the occluder into at most so many groups, by the sizes of their windows.

    Starting from places with the same sizes at every step, the two groups that cost least to put
    together are put together.

    Args:
        spans: of every windowed step, what each place changes.
        lengths: places of each step's map.
        weights: of each step, what a place of the window costs.
        most: groups.
    """
    sizes = np.stack([np.maximum(spans[name].sizes, 1) for name in spans], axis=1)
    cost = np.array([weights[name] for name in spans])
    distinct, which = np.unique(sizes, axis=0, return_inverse=True)
    which = which.ravel()
    tops = list(distinct)
    members = [np.flatnonzero(which == number) for number in range(len(tops))]

    def added(pair: tuple[int, int]) -> float:
        a, b = pair
        top = np.maximum(tops[a], tops[b])
        return float(
            len(members[a]) * ((top - tops[a]) @ cost) + len(members[b]) * ((top - tops[b]) @ cost)
        )

    while len(tops) > most:
        pairs = [(a, b) for a in range(len(tops)) for b in range(a)]
        a, b = min(pairs, key=added)
        tops[b] = np.maximum(tops[a], tops[b])
        members[b] = np.sort(np.concatenate([members[a], members[b]]))
        del tops[a], members[a]
    return [
        _group(spans, lengths, chosen, dict(zip(spans, top.tolist(), strict=True)))
        for chosen, top in zip(members, tops, strict=True)
    ]


def _group(
    spans: dict[str, Spans], lengths: dict[str, int], members: Places, size: dict[str, int]
) -> Group:
    first = {
        name: np.minimum(one.first[members], lengths[name] - size[name])
        for name, one in spans.items()
    }
    return Group(members, first, size)


@dataclass(frozen=True)
class Window:
    """Of one step, what changes for n occluders.

    Attributes:
        values: (n, C, h, w), channels last.
        top: (n,) first row of each.
        left: (n,) first column.
    """

    values: Tensor
    top: Tensor
    left: Tensor

    def is_at(self, top: Tensor, height: int, left: Tensor, width: int) -> bool:
        """Whether it covers exactly these places."""
        return (
            tuple(self.values.shape[2:]) == (height, width)
            and torch.equal(self.top, top)
            and torch.equal(self.left, left)
        )


class Base:
    """The maps of one image without occluder, as rows of places that can be picked."""

    def __init__(self, maps: dict[str, Tensor]) -> None:
        self._rows: dict[str, Tensor] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        self.like = next(iter(maps.values()))
        for name, one in maps.items():
            channels = one.shape[1]
            rows = one.new_empty(one.shape[2] * one.shape[3] + 1, channels)  # the last one: outside
            rows[:-1] = one[0].permute(1, 2, 0).reshape(-1, channels)
            self._rows[name], self.sizes[name] = rows, (one.shape[2], one.shape[3])

    def region(
        self,
        name: str,
        window: Window,
        top: Tensor,
        height: int,
        left: Tensor,
        width: int,
        outside: float = 0.0,
    ) -> Tensor:
        """Regions of a step's maps, each with the window of its occluder pasted in.

        Args:
            name: the step.
            window: of that step, n of them.
            top: (n,) first row of each region; regions may reach over the border of the map.
            height: rows.
            left: (n,) first column.
            width: columns.
            outside: what lies outside the map.

        Returns:
            (n, C, height, width), channels last.
        """
        if window.is_at(top, height, left, width):
            return window.values
        rows, (map_height, map_width) = self._rows[name], self.sizes[name]
        rows[-1] = outside
        n, channels, h, w = window.values.shape
        y, x = reach(top, height), reach(left, width)
        inside = ((y >= 0) & (y < map_height))[:, :, None] & ((x >= 0) & (x < map_width))[:, None]
        index = torch.where(inside, (y * map_width)[:, :, None] + x[:, None], len(rows) - 1)
        picked = rows.new_empty(n * height * width + 1, channels)  # the last one: not wanted
        torch.index_select(rows, 0, index.flatten(), out=picked[:-1])
        y, x = reach(window.top - top, h), reach(window.left - left, w)
        wanted = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
        image = torch.arange(n, device=rows.device)[:, None, None] * (height * width)
        index = torch.where(wanted, image + (y * width)[:, :, None] + x[:, None], len(picked) - 1)
        pasted = window.values.permute(0, 2, 3, 1).reshape(-1, channels)
        picked.index_copy_(0, index.flatten(), pasted)
        return picked[:-1].view(n, height, width, channels).permute(0, 3, 1, 2)

    def whole(self, name: str, window: Window) -> Tensor:
        """The whole maps (n, C, H, W) of a step, with the windows pasted in."""
        zero = torch.zeros_like(window.top)
        height, width = self.sizes[name]
        return self.region(name, window, zero, height, zero, width)


def reach(first: Tensor, size: int) -> Tensor:
    """(n, size) places from each of n firsts on."""
    return first[:, None] + torch.arange(size, device=first.device)
