"""Top-k heaps: for each feature map the k images that excite it most.

An image counts once per map, by its strongest position. The order is total, activation
descending and then sample ascending, so merging is associative and commutative: whatever the
order of arrival, the heaps are the same. An activation of zero is no winner; a dead map has none.

Values come as they are before the layer's own rectification. Where that only cuts values off, as
ReLU and ReLU6 do, they are ranked by what they were before: of two that are cut off alike, one is
still the stronger, and below zero a value tells how far a map is from firing.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NOBODY = torch.iinfo(torch.int64).max
"""The sample of an empty place: behind every real one."""

_MANY = 0.6
"""Share of the maps from which on taking them out and putting them back does not pay."""

_MOST = 2**32 - 1
"""From this on a sample does not fit into half an integer."""


def strongest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value of each map and its place, the first one in row-major order.

    Args:
        maps: (N, C, H, W).

    Returns:
        values (N, C) and flattened positions ``y * W + x`` (N, C), int64.
    """
    # one pass for both; reducing over a flattened map costs four times as much on a CPU
    values, places = F.max_pool2d(maps, maps.shape[-2:], return_indices=True)
    return values.flatten(1), places.flatten(1)


@dataclass(frozen=True)
class Bounds:
    """What rectification leaves of the values of M feature maps.

    Attributes:
        low, high: (M,) all activations lie between them.
        squashed: (M,) bool, whether values become activations by Hardsigmoid.
    """

    low: Tensor
    high: Tensor
    squashed: Tensor

    def __len__(self) -> int:
        return len(self.low)

    def to(self, device: torch.device) -> "Bounds":
        """The same on a device."""
        return Bounds(*(of.to(device) for of in (self.low, self.high, self.squashed)))

    def rectify(self, values: Tensor) -> Tensor:
        """The activations that values (N, M) become."""
        activations = values.clamp(self.low, self.high)
        return torch.where(self.squashed, F.hardsigmoid(values), activations)

    @property
    def bar(self) -> Tensor:
        """(M,) the value above which an activation is more than zero."""
        fires = torch.where(self.low > 0, -torch.inf, 0.0)
        bar = torch.where(self.high > 0, fires, torch.inf)
        return torch.where(self.squashed, -3.0, bar)


@dataclass
class Heaps:
    """The heaps and statistics of M feature maps, K ranks each, on the device of the net.

    Attributes:
        values: (M, K) float32, before rectification, descending; the bar where a place is empty.
        samples: (M, K) int64; `NOBODY` where a place is empty.
        places: (M, K) int64, flattened positions in the map.
        bounds: of each map, what rectification leaves of its values: its statistics are of that.
        bar: (M,) a value that is not above it is no winner.
        images: how many images were seen.
        active: (M,) int64, images on which the map's largest activation is above zero.
        total: (M,) float64, sum of the per-image maxima.
        total_squares: (M,) float64, sum of their squares.
        peak: (M,) float32, the largest maximum, also where it is not above zero.
    """

    values: Tensor
    samples: Tensor
    places: Tensor
    bounds: Bounds
    bar: Tensor
    images: int
    active: Tensor
    total: Tensor
    total_squares: Tensor
    peak: Tensor

    @classmethod
    def empty(cls, bounds: Bounds, k: int, bar: Tensor | None = None) -> "Heaps":
        """Heaps with nothing in them, on the device of the bounds.

        Args:
            bounds: of the maps.
            k: ranks.
            bar: (M,) of the values, if it is not that of the bounds.
        """
        maps, device = len(bounds), bounds.low.device
        bar = bounds.bar if bar is None else bar
        return cls(
            values=bar[:, None].repeat(1, k),
            samples=torch.full((maps, k), NOBODY, device=device),
            places=torch.zeros(maps, k, dtype=torch.int64, device=device),
            bounds=bounds,
            bar=bar,
            images=0,
            active=torch.zeros(maps, dtype=torch.int64, device=device),
            total=torch.zeros(maps, dtype=torch.float64, device=device),
            total_squares=torch.zeros(maps, dtype=torch.float64, device=device),
            peak=torch.full((maps,), -torch.inf, device=device),
        )

    def add(self, values: Tensor, places: Tensor, samples: Tensor) -> None:
        """Count a batch of images, in any order; nothing here waits for a GPU.

        Args:
            values: (N, M) per-image maxima. One that is not finite leaves a `total` that is not.
            places: (N, M) their flattened positions.
            samples: (N,) int64, different for every image ever added.
        """
        self._count(values)
        maps = self._beaten(values, samples)
        if isinstance(maps, slice) or len(maps):
            new = values[:, maps].T
            self._merge(maps, new, samples.expand(new.shape), places[:, maps].T)

    @property
    def finite(self) -> bool:
        """Whether no value was NaN or infinite."""
        return bool(self.total.isfinite().all())

    def _count(self, values: Tensor) -> None:
        values = self.bounds.rectify(values)
        self.images += len(values)
        self.active += (values > 0).sum(0)
        exact = values.double()
        self.total += exact.sum(0)
        self.total_squares += exact.square().sum(0)
        self.peak = torch.maximum(self.peak, values.amax(0))

    def _beaten(self, values: Tensor, samples: Tensor) -> Tensor | slice:
        """The maps in whose heaps something changes, or all, where that is sooner."""
        if not values.is_cpu:  # which ones is not known without waiting; sorting all costs little
            return slice(None)
        # most images of a large set beat nobody
        last = self.values[:, -1]
        beats = (values > last) | ((values == last) & (samples[:, None] < self.samples[:, -1]))
        maps = (beats & (values > self.bar)).any(0).nonzero()[:, 0]
        return maps if len(maps) < _MANY * len(self.bar) else slice(None)

    def _merge(self, maps: Tensor | slice, values: Tensor, samples: Tensor, places: Tensor) -> None:
        """Merge candidates (m, n) into the heaps of these m maps."""
        bar = self.bar[maps, None]
        samples = samples.masked_fill(values <= bar, NOBODY)
        values = values.maximum(bar)
        k = self.values.shape[1]
        values = torch.cat([self.values[maps], values], 1)
        samples = torch.cat([self.samples[maps], samples], 1)
        places = torch.cat([self.places[maps], places], 1)
        order = ranked(values, samples)[:, :k]
        self.values[maps] = values.gather(1, order)
        self.samples[maps] = samples.gather(1, order)
        self.places[maps] = places.gather(1, order)


def ranked(values: Tensor, samples: Tensor) -> Tensor:
    """The total order of each row: value descending, then sample ascending; (M, n) indices."""
    if values.is_cpu and int(samples.masked_fill(samples == NOBODY, 0).max()) < _MOST:
        return torch.from_numpy(np.argsort(_keys(values, samples).numpy(), axis=1))
    by_sample = samples.argsort(dim=1, stable=True)
    by_value = values.gather(1, by_sample).argsort(dim=1, descending=True, stable=True)
    return by_sample.gather(1, by_value)


def _keys(values: Tensor, samples: Tensor) -> Tensor:
    """Integers (M, n) that rise along the total order: numpy sorts them in a tenth of the time.

    The bits of floats are in the order of the numbers if, where the sign is set, all others are
    turned over.
    """
    bits = (values + 0.0).view(torch.int32)  # there are two zeros
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (~rising).long().bitwise_left_shift_(32).bitwise_or_(samples.clamp_max(_MOST))
