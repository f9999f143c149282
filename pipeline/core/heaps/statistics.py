"""What is known of a feature map beside its winners: how its activations are spread, and over what.

Of each image it is the map's largest activation that counts, as for the winners. All of it adds up
to the same whoever adds it, and in whatever order.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.heaps.topk import Bounds

_BITS = 23 - 4
"""Of a float32's mantissa that are cut off: from a power of two to the next there are 16 buckets,
all as wide, and the middle of one is at most 1/33 off."""

_LEAST, _MOST = 2.0**-20, 2.0**20
_FIRST = int(np.float32(_LEAST).view(np.int32)) >> _BITS
BUCKETS = (int(np.float32(_MOST).view(np.int32)) >> _BITS) - _FIRST
"""What lies outside of 2^-20 to 2^20 counts in the first or the last one."""

_KEPT = 512
"""Images of a dataset, about, of which all activations are kept, to choose examples from."""

_CELLS, _FEWEST = 2**18, 48
"""Classes times feature maps of a part, from which on its classes are counted by fewer images, but
by so many at least: of ImageNet's shards by 228 for AlexNet's maps, by 48 for ResNet-50's."""

Class = tuple[int | None, str | None]
"""A label and a name, of which one may be unknown."""

UNKNOWN: Class = (None, None)


def edges() -> NDArray[np.float64]:
    """(BUCKETS + 1,) where the buckets start, and the last one ends."""
    bits = np.arange(_FIRST, _FIRST + BUCKETS + 1, dtype=np.int32) << _BITS
    starts: NDArray[np.float64] = bits.view(np.float32).astype(np.float64)
    return starts


def quantiles(
    counts: NDArray[np.integer], images: NDArray[np.integer], at: Sequence[float]
) -> NDArray[np.float64]:
    """The least values that these shares of the images do not exceed, as their buckets' middles.

    Args:
        counts: (M, BUCKETS) images in each bucket; the others are not active: zero.
        images: (M,) all of them.
        at: (Q,) shares, between 0 and 1.

    Returns:
        (M, Q), off by 1/32 of the value at most.
    """
    ends = edges()
    middles = np.concatenate([[0.0], (ends[:-1] + ends[1:]) / 2])
    inactive = images - counts.sum(1)
    below = np.concatenate([inactive[:, None], counts], 1).cumsum(1)
    wanted = np.maximum(np.ceil(np.outer(images, at) - 1e-9), 1)
    places = np.empty(wanted.shape, np.int64)
    for number, of_all in enumerate(wanted.T):
        places[:, number] = (below < of_all[:, None]).sum(1)
    found: NDArray[np.float64] = middles[places.clip(max=BUCKETS)]
    return found


def lots(part: str, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """A lot for each image: a number from 0 to 1 that follows from its place in its part alone.

    Args:
        part: its name.
        positions: (N,) of the images in it.
    """
    digest = hashlib.sha256(part.encode("utf-8", "surrogateescape")).digest()
    mixed = positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed += np.uint64(int.from_bytes(digest[:8]))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def share_kept(images: int) -> float:
    """The share of a dataset of so many images of which all activations are kept."""
    return min(1.0, _KEPT / max(1, images))


def share_classed(images: int, classes: int, maps: int) -> float:
    """The share of a part's images by which its classes are counted.

    Args:
        images: in the part, about.
        classes: of these, at most.
        maps: feature maps of all layers.
    """
    return min(1.0, max(_CELLS / max(1, classes * maps), _FEWEST / max(1, images)))


@dataclass
class Statistics:
    """The statistics of M feature maps over the images of a part, on the device of the net.

    Attributes:
        bounds: of the maps.
        kept: images with a lot below this are kept whole.
        classed: images with a lot below this count for their classes.
        counts: (M, BUCKETS) int32, images in each bucket of activations.
        rows: of each class, in the tables below.
        images: of each class, how many.
        total: (classes, M) float32, sum of the activations.
        active: (classes, M) int32, images with an activation above zero.
        positions: of the images that are kept whole.
        lots: likewise.
        values: of these, (n, M) before rectification, batch by batch.
        places: likewise, flattened positions in the map.
    """

    bounds: Bounds
    kept: float
    classed: float
    counts: Tensor
    total: Tensor
    active: Tensor
    rows: dict[Class, int] = field(default_factory=dict)
    images: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    lots: list[float] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    places: list[Tensor] = field(default_factory=list)

    @classmethod
    def empty(cls, bounds: Bounds, kept: float, classed: float) -> "Statistics":
        """Of no image yet, on the device of the bounds."""
        maps, device = len(bounds), bounds.low.device
        return cls(
            bounds,
            kept,
            classed,
            torch.zeros(maps, BUCKETS, dtype=torch.int32, device=device),
            torch.zeros(0, maps, device=device),
            torch.zeros(0, maps, dtype=torch.int32, device=device),
        )

    def add(
        self,
        values: Tensor,
        places: Tensor,
        positions: NDArray[np.int64],
        lots: NDArray[np.float64],
        classes: Sequence[Class],
    ) -> None:
        """Count a batch of images; nothing here waits for a GPU.

        Args:
            values: (N, M) per-image maxima, before rectification.
            places: (N, M) their flattened positions.
            positions: (N,) of the images.
            lots: (N,) theirs.
            classes: (N,) theirs.
        """
        activations = self.bounds.rectify(values)
        self._spread(activations)
        counted = [
            (image, of_image)
            for image, of_image in enumerate(classes)
            if of_image != UNKNOWN and lots[image] < self.classed
        ]
        if counted:
            self._by_class(activations, *zip(*counted, strict=True))
        kept = np.flatnonzero(lots < self.kept)
        if len(kept):
            chosen = torch.from_numpy(kept).to(values.device, non_blocking=True)
            self.positions += positions[kept].tolist()
            self.lots += lots[kept].tolist()
            self.values.append(values[chosen])
            self.places.append(places[chosen].int())

    @property
    def classes(self) -> list[Class]:
        """In the order of their rows."""
        return list(self.rows)

    def kept_values(self) -> tuple[Tensor, Tensor]:
        """Of the images that are kept whole, (n, M) values and (n, M) places."""
        none = self.total[:0]
        return torch.cat([none, *self.values]), torch.cat([none.int(), *self.places])

    def _spread(self, activations: Tensor) -> None:
        bits = activations.contiguous().view(torch.int32) >> _BITS
        buckets = (bits - _FIRST).clamp_(0, BUCKETS - 1)
        first = torch.arange(len(self.bounds), device=activations.device) * BUCKETS
        self.counts.view(-1).scatter_add_(
            0, (buckets + first).flatten(), (activations > 0).int().flatten()
        )

    def _by_class(
        self, activations: Tensor, images: Sequence[int], classes: Sequence[Class]
    ) -> None:
        """Sums by a product with ones: unlike scattered sums the same on every GPU, every time."""
        here = {of_image: row for row, of_image in enumerate(dict.fromkeys(classes))}
        belongs = torch.zeros(len(here), len(activations))
        belongs[[here[of_image] for of_image in classes], list(images)] = 1.0
        belongs = belongs.to(activations.device, non_blocking=True)
        self._make_room(here)
        rows = torch.tensor([self.rows[of_image] for of_image in here]).to(activations.device)
        self.total[rows] += belongs @ activations
        self.active[rows] += (belongs @ (activations > 0).float()).int()
        for of_image in classes:
            self.images[self.rows[of_image]] += 1

    def _make_room(self, classes: dict[Class, int]) -> None:
        """Rows for classes that are new; twice as many as are needed, as they come one by one."""
        for of_image in classes:
            if of_image not in self.rows:
                self.rows[of_image] = len(self.rows)
                self.images.append(0)
        missing = len(self.rows) - len(self.total)
        if missing > 0:
            more = (0, 0, 0, missing + len(self.rows))
            self.total = torch.nn.functional.pad(self.total, more)
            self.active = torch.nn.functional.pad(self.active, more)
