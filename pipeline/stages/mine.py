"""Stage 1: stream samples through nets, into their heaps."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.config import Machine
from pipeline.core.heaps.certificate import screen_depth
from pipeline.core.heaps.peaks import Peaks
from pipeline.core.heaps.screening import screened
from pipeline.core.heaps.topk import Bounds, Heaps
from pipeline.core.nets.known import Net
from pipeline.core.upload import Upload
from pipeline.data.batches import ON_PROCESSOR, Batch, Decoding, Numbered, Seen, Stream, batches
from pipeline.data.effort import Effort
from pipeline.data.machines import this_machine
from pipeline.errors import NumericsError

log = logging.getLogger(__name__)

_BATCH = {"cpu": 64, "cuda": 256}
_LARGEST_MAPS = 2**24
"""Elements of a batch of a layer's maps on a CPU, 64 MiB: more fall out of its cache."""

Watch = Callable[[Batch, Tensor, Tensor], None]
"""Told of every batch, its values (N, M) and their places, the black tail apart."""


@dataclass
class Miner:
    """A net on its device, ready to mine.

    Attributes:
        net: with the layers to mine alone.
        peaks: its forward pass, exact or in reduced precision.
        screens: whether it is in reduced precision.
        decoding: how pictures come to it.
        halvings: how often its batches were halved, for want of a GPU's memory.
    """

    net: Net
    peaks: Peaks
    screens: bool = False
    decoding: Decoding = ON_PROCESSOR
    halvings: int = 0

    @classmethod
    def exact(cls, net: Net) -> "Miner":
        """In float32."""
        return cls(net, Peaks.of(net.graph))

    @classmethod
    def screening(cls, net: Net, decoding: Decoding = ON_PROCESSOR) -> "Miner":
        """In reduced precision."""
        return cls(net, screened(net.graph), screens=True, decoding=decoding)

    @property
    def machine(self) -> Machine:
        """Who mines."""
        return this_machine(self.net.device, self.decoding.name)

    @property
    def stream(self) -> Stream:
        """The batches that it takes."""
        size = _BATCH[self.net.device.type]
        if self.net.device.type == "cpu":
            largest = max(int(np.prod(step.shape)) for step in self.net.graph.steps.values())
            while size > 1 and size * largest > _LARGEST_MAPS:
                size //= 2
        return Stream(self.net.preprocessing, max(1, size >> self.halvings))

    @property
    def bounds(self) -> Bounds:
        """Of its feature maps, on its device."""
        return self.peaks.bounds.to(self.net.device)

    def heaps(self, top_k: int) -> Heaps:
        """Empty heaps of all its feature maps: of so many ranks, or of what screening keeps."""
        if self.screens:
            bar = torch.full_like(self.bounds.low, -torch.inf)
            return Heaps.empty(self.bounds, screen_depth(top_k), bar)
        return Heaps.empty(self.bounds, top_k)

    def maxima(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The strongest place of every feature map of every layer, side by side.

        Args:
            images: uint8 (N, C, H, W), on its device.

        Returns:
            values (N, M), before rectification, and flattened positions (N, M).
        """
        with torch.inference_mode():
            return self.peaks(self.net.preprocessing.normalise(images))


def mine(
    miners: Sequence[Miner],
    heaps: Sequence[Heaps],
    samples: Iterator[Numbered],
    decoders: int = 0,
    watch: Watch | None = None,
    effort: Effort | None = None,
) -> Seen:
    """Stream samples through the nets, into their heaps.

    Args:
        miners: the nets.
        heaps: of each net; samples in them are positions in the part.
        samples: what to read.
        decoders: threads that decode, as in `batches`.
        watch: told of every batch.
        effort: counts what it takes.
    """
    seen, effort = Seen(), effort or Effort()
    streams, device = [miner.stream for miner in miners], miners[0].net.device
    upload, pinned = Upload(device), device.type == "cuda"
    decoding = miners[0].decoding  # all have the same
    for batch in batches(samples, streams, decoders, effort, pinned, decoding):
        if batch.stream == 0:
            seen.pictures.extend(batch.pictures)
            seen.skipped.extend(batch.skipped)
        if batch.pictures:
            with effort.on("net"):
                found = _add(miners[batch.stream], heaps[batch.stream], batch, upload)
                if watch is not None:
                    watch(batch, *found)
    return seen


def mine_finite(
    miner: Miner,
    top_k: int,
    read: Callable[[], Iterator[Numbered]],
    watching: Callable[[], Watch | None] = lambda: None,
) -> tuple[Heaps, Seen]:
    """Mine for one net; images on which an activation is NaN or infinite are skipped.

    Args:
        miner: the net.
        top_k: ranks kept per feature map.
        read: starts reading the samples; called again after such images were found.
        watching: who watches, as in `mine`, whenever reading starts.

    Raises:
        NumericsError: what was not finite is so when it is computed again.
    """
    reasons: dict[int, str] = {}
    while True:
        heaps = miner.heaps(top_k)
        seen = mine([miner], [heaps], _without(read(), reasons), watch=watching())
        if heaps.finite:
            return heaps, seen
        found = _not_finite(miner, _without(read(), reasons))
        if not found:
            raise NumericsError(
                "An activation was not finite, but is when computed again; check the machine."
            )
        reasons |= found


def _without(samples: Iterator[Numbered], reasons: Mapping[int, str]) -> Iterator[Numbered]:
    """The samples; those at some positions cannot be used, for these reasons."""
    for position, sample in samples:
        reason = reasons.get(position)
        yield position, sample if reason is None else replace(sample, problem=reason)


def _add(miner: Miner, heaps: Heaps, batch: Batch, upload: Upload) -> tuple[Tensor, Tensor]:
    device, used = miner.net.device, len(batch.pictures)
    values, places = miner.maxima(upload(batch.images))
    positions = [picture.position for picture in batch.pictures]
    samples = torch.tensor(positions, pin_memory=device.type == "cuda")
    heaps.add(values[:used], places[:used], samples.to(device, non_blocking=True))
    return values[:used], places[:used]


def _not_finite(miner: Miner, samples: Iterator[Numbered]) -> dict[int, str]:
    """Position → where the first value is that is not finite, of the images that have such."""
    miner = Miner.exact(miner.net)  # in 8 bits one such image spoils its whole batch
    layers = miner.net.graph.layers
    places = [(layer.name, number) for layer in layers for number in range(layer.maps)]
    reasons = {}
    for batch in batches(samples, [miner.stream]):
        values = miner.maxima(batch.images.to(miner.net.device))[0][: len(batch.pictures)].cpu()
        for picture, of_image in zip(batch.pictures, values, strict=True):
            wrong = (~of_image.isfinite()).nonzero()
            if len(wrong):
                layer, feature_map = places[int(wrong[0])]
                reasons[picture.position] = (
                    f"layer {layer}, feature map {feature_map} is {float(of_image[wrong[0]])} on it"
                )
    return reasons
