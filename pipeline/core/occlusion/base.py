"""The maps of one image as it is, which go on around what its occluders change."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.core.graph.steps import Pair
from pipeline.core.windows.placed import Placed


class Base:
    """The maps of one image without occluder, as rows of places that can be picked.

    Args:
        maps: step → (1, C, H, W).
    """

    def __init__(self, maps: dict[str, Tensor]) -> None:
        self._rows: dict[str, Tensor] = {}
        self.sizes: dict[str, Pair] = {}
        self.like = next(iter(maps.values()))
        for name, (values,) in maps.items():
            channels, height, width = values.shape
            rows = values.new_empty(height * width + 1, channels)  # the last one: outside
            rows[:-1] = values.permute(1, 2, 0).reshape(-1, channels)
            self._rows[name], self.sizes[name] = rows, (height, width)

    def region(
        self, source: str, values: Tensor, held: Placed, wanted: Placed, outside: float | None
    ) -> Tensor:
        """Regions of a step's maps, each with the window of its occluder pasted in.

        The arguments are those of `forward.Surroundings`.
        """
        if held.is_at(wanted):
            return values
        return self._pasted(self._rows[source], self.sizes[source], values, held, wanted, outside)

    def _pasted(
        self,
        rows: Tensor,
        size: Pair,
        values: Tensor,
        held: Placed,
        wanted: Placed,
        outside: float | None,
    ) -> Tensor:
        if (
            len(values) == 1
            and (one := _one(rows, size, values, held, wanted, outside)) is not None
        ):
            return one
        rows[-1] = outside or 0.0
        index = torch.where(wanted.outside(size), len(rows) - 1, wanted.flat(size[1]))
        (n, channels), (height, width) = values.shape[:2], wanted.size
        picked = rows.new_empty(n * height * width + 1, channels)  # the last one: not wanted
        torch.index_select(rows, 0, index.flatten(), out=picked[:-1])
        pasted = held.within(wanted)
        image = torch.arange(n, device=rows.device)[:, None, None] * (height * width)
        not_wanted = pasted.outside(wanted.size)
        index = torch.where(not_wanted, len(picked) - 1, image + pasted.flat(width))
        picked.index_copy_(0, index.flatten(), values.permute(0, 2, 3, 1).reshape(-1, channels))
        return picked[:-1].view(n, height, width, channels).permute(0, 3, 1, 2)

    def whole(
        self, source: str, values: Tensor, held: Placed, channels: Tensor | None = None
    ) -> Tensor:
        """The whole maps (n, C, H, W) of a step, or some of them, with the windows pasted in."""
        zero = torch.zeros(len(values), dtype=torch.int64, device=values.device)
        wanted = Placed.of_size(self.sizes[source], zero, zero)
        if channels is None:
            return self.region(source, values, held, wanted, None)
        rows, few = self._rows[source][:, channels], values[:, channels]
        return self._pasted(rows, self.sizes[source], few, held, wanted, None)

    @property
    def nbytes(self) -> int:
        """How much memory it holds."""
        return sum(rows.nbytes for rows in self._rows.values())


def _one(
    rows: Tensor, size: Pair, values: Tensor, held: Placed, wanted: Placed, outside: float | None
) -> Tensor | None:
    """The same for a single window, cut out and pasted: a third of the time that picking takes.

    None where the region lies beside the map.
    """
    (top, left), (height, width) = map(int, wanted.first), wanted.size
    (first, start), (rest, long) = map(int, held.first), held.size
    above, below = max(top, 0), min(top + height, size[0])
    before, behind = max(left, 0), min(left + width, size[1])
    if above >= below or before >= behind:
        return None
    maps = rows[:-1].view(1, *size, -1).permute(0, 3, 1, 2)
    margins = before - left, left + width - behind, above - top, top + height - below
    inside = maps[:, :, above:below, before:behind]
    region = F.pad(inside, margins, value=outside or 0.0) if any(margins) else inside.clone()
    y, y_end = max(first, top), min(first + rest, top + height)
    x, x_end = max(start, left), min(start + long, left + width)
    if y < y_end and x < x_end:
        pasted = values[:, :, y - first : y_end - first, x - start : x_end - start]
        region[:, :, y - top : y_end - top, x - left : x_end - left] = pasted
    return region.contiguous(memory_format=torch.channels_last)
