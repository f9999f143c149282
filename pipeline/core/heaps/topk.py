"""Top-k heaps: for each feature map the k images that excite it most.

An image counts once per map, by its strongest position. The order is total, activation
descending and then sample ascending, so merging is associative and commutative: whatever the
order of arrival, the heaps are the same. An activation of zero is no winner; a dead map has none.

Values come as they are before the layer's own rectification: above zero that is the activation
itself, and below it, it tells how far a map is from firing.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NOBODY = torch.iinfo(torch.int64).max
"""The sample of an empty place: behind every real one."""


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


@dataclass
class Heaps:
    """The heaps and statistics of M feature maps, K ranks each, on the device of the net.

    Attributes:
        activations: (M, K) float32, descending; the bar where a place is empty.
        samples: (M, K) int64; `NOBODY` where a place is empty.
        places: (M, K) int64, flattened positions in the map.
        bar: a value that is not above it is no winner: 0, or -inf to rank all images.
        rectified: (M,) bool, whether a map's layer is rectified: its statistics then are.
        images: how many images were seen.
        active: (M,) int64, images on which the map's maximum is above zero.
        total: (M,) float64, sum of the per-image maxima.
        total_squares: (M,) float64, sum of their squares.
        peak: (M,) float32, the largest maximum, also where it is not above zero.
    """

    activations: Tensor
    samples: Tensor
    places: Tensor
    bar: float
    rectified: Tensor
    images: int
    active: Tensor
    total: Tensor
    total_squares: Tensor
    peak: Tensor

    @classmethod
    def empty(cls, rectified: Tensor, k: int, bar: float = 0.0) -> "Heaps":
        """Heaps with nothing in them, on the device of `rectified`."""
        maps, device = len(rectified), rectified.device
        return cls(
            activations=torch.full((maps, k), bar, device=device),
            samples=torch.full((maps, k), NOBODY, device=device),
            places=torch.zeros(maps, k, dtype=torch.int64, device=device),
            bar=bar,
            rectified=rectified,
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
        if len(maps):
            new = values[:, maps].T
            self._merge(maps, new, samples.expand(new.shape), places[:, maps].T)

    @property
    def finite(self) -> bool:
        """Whether no value was NaN or infinite."""
        return bool(self.total.isfinite().all())

    def _count(self, values: Tensor) -> None:
        values = torch.where(self.rectified & (values < 0), 0.0, values)
        self.images += len(values)
        self.active += (values > 0).sum(0)
        exact = values.double()
        self.total += exact.sum(0)
        self.total_squares += exact.square().sum(0)
        self.peak = torch.maximum(self.peak, values.amax(0))

    def _beaten(self, values: Tensor, samples: Tensor) -> Tensor:
        """The maps in whose heaps something changes."""
        if not values.is_cpu:  # which ones is not known without waiting; sorting all costs little
            return torch.arange(values.shape[1], device=values.device)
        # most images of a large set beat nobody
        last = self.activations[:, -1]
        beats = (values > last) | ((values == last) & (samples[:, None] < self.samples[:, -1]))
        return (beats & (values > self.bar)).any(0).nonzero()[:, 0]

    def _merge(self, maps: Tensor, values: Tensor, samples: Tensor, places: Tensor) -> None:
        """Merge candidates (m, n) into the heaps of these m maps."""
        samples = samples.masked_fill(values <= self.bar, NOBODY)
        values = values.clamp_min(self.bar)
        k = self.activations.shape[1]
        values = torch.cat([self.activations[maps], values], 1)
        samples = torch.cat([self.samples[maps], samples], 1)
        places = torch.cat([self.places[maps], places], 1)
        order = ranked(values, samples)[:, :k]
        self.activations[maps] = values.gather(1, order)
        self.samples[maps] = samples.gather(1, order)
        self.places[maps] = places.gather(1, order)


def ranked(activations: Tensor, samples: Tensor) -> Tensor:
    """The total order of each row: activation descending, then sample ascending; (M, n) indices."""
    by_sample = samples.argsort(dim=1, stable=True)
    by_activation = activations.gather(1, by_sample).argsort(dim=1, descending=True, stable=True)
    return by_sample.gather(1, by_activation)
