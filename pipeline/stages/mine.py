"""Stage 1: stream a part of the dataset through the nets and keep their heaps."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pipeline import schema
from pipeline.config import Machine
from pipeline.core.heaps.certificate import screen_depth
from pipeline.core.heaps.peaks import Peaks
from pipeline.core.heaps.screening import screened
from pipeline.core.heaps.topk import Heaps
from pipeline.core.nets.known import Net
from pipeline.core.upload import Upload
from pipeline.data.batches import ON_PROCESSOR, Batch, Decoding, Numbered, Seen, Stream, batches
from pipeline.data.effort import Effort
from pipeline.data.formats.dataset import Dataset
from pipeline.data.machines import this_machine
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.errors import NumericsError
from pipeline.stages.heap_files import heap_table, screen_table, write_skipped
from pipeline.terminal import warnings_kept

log = logging.getLogger(__name__)

_BATCH = {"cpu": 64, "cuda": 256}
_LARGEST_MAPS = 2**24
"""Elements of a batch of a layer's maps on a CPU, 64 MiB: more fall out of its cache."""

Watch = Callable[[Batch, Tensor], None]


@dataclass(frozen=True)
class PartDone:
    """What came of one part."""

    part: str
    images: int
    skipped: int
    machine: Machine | None = field(default=None, compare=False)
    effort: Mapping[str, float] = field(default_factory=dict, compare=False)


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

    def heaps(self, top_k: int) -> Heaps:
        """Empty heaps of all its feature maps: of so many ranks, or of what screening keeps."""
        bounds = self.peaks.bounds.to(self.net.device)
        if self.screens:
            return Heaps.empty(bounds, screen_depth(top_k), torch.full_like(bounds.low, -torch.inf))
        return Heaps.empty(bounds, top_k)

    def maxima(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The strongest place of every feature map of every layer, side by side.

        Args:
            images: uint8 (N, C, H, W), on its device.

        Returns:
            values (N, M), before rectification, and flattened positions (N, M).
        """
        with torch.inference_mode():
            return self.peaks(self.net.preprocessing.normalise(images))


def mine_part(
    miners: Sequence[Miner],
    dataset: Dataset,
    part: Part,
    runs: Sequence[Store],
    top_k: int,
    decoders: int = 0,
) -> PartDone:
    """Mine one part for some nets and store a file for each, the record that it is done.

    Args:
        miners: the nets; the pictures are read and decoded once for all of them. Those that screen
            store near values, and more of them, instead of heaps.
        dataset: what the part belongs to.
        part: which samples.
        runs: where the results of each net go; the same part again stores the same content.
        top_k: ranks kept per feature map.
        decoders: threads that decode, as in `batches`.

    Raises:
        WriteError: the result could not be stored.
    """

    def read() -> Iterator[Numbered]:
        return enumerate(dataset.read(part))

    effort = Effort()
    with effort.on("seconds"):
        with warnings_kept("pipeline.data") as remarks:
            heaps, seen_by_all = _mine_in_memory(miners, top_k, read, decoders, effort)
        for miner, run, of_net in zip(miners, runs, heaps, strict=True):
            with effort.on("net"):
                # looked at only now: on a GPU every look waits for what is under way
                finite = of_net.finite
            own, seen = (of_net, seen_by_all) if finite else mine_finite(miner, top_k, read)
            with effort.on("writing"):
                _write(miner, own, replace(seen, remarks=tuple(remarks)), run, part.name)
    counts = len(seen_by_all.pictures), len(seen_by_all.skipped)
    return PartDone(part.name, *counts, miners[0].machine, effort.amounts)


def _mine_in_memory(
    miners: Sequence[Miner],
    top_k: int,
    read: Callable[[], Iterator[Numbered]],
    decoders: int,
    effort: Effort,
) -> tuple[list[Heaps], Seen]:
    """Heaps of all samples; with smaller batches, from now on, where a GPU has no room."""
    while True:
        heaps = [miner.heaps(top_k) for miner in miners]
        try:
            return heaps, mine(miners, heaps, read(), decoders, effort=effort)
        except torch.OutOfMemoryError:
            if all(miner.stream.size == 1 for miner in miners):
                raise
        for miner in miners:
            miner.halvings += 1
        sizes = ", ".join(f"{miner.net.name} {miner.stream.size}" for miner in miners)
        log.warning("Too little memory on the GPU: batches are halved (%s images).", sizes)
        torch.cuda.empty_cache()


def _write(miner: Miner, heaps: Heaps, seen: Seen, run: Store, part: str) -> None:
    """Store what a part has in skipped samples, then its heaps: the record that it is done."""
    write_skipped(run, part, seen)
    table_of, name_of = (
        (screen_table, schema.screen_name) if miner.screens else (heap_table, schema.heap_name)
    )
    run.write_table(name_of(part), table_of(miner.net, heaps, seen, miner.machine), by="layer")


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
        watch: told of every batch and its values (N, M), the black tail apart.
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
                values = _add(miners[batch.stream], heaps[batch.stream], batch, upload)
            if watch is not None:
                watch(batch, values)
    return seen


def mine_finite(
    miner: Miner, top_k: int, read: Callable[[], Iterator[Numbered]], watch: Watch | None = None
) -> tuple[Heaps, Seen]:
    """Mine for one net; images on which an activation is NaN or infinite are skipped.

    Args:
        miner: the net.
        top_k: ranks kept per feature map.
        read: starts reading the samples; called again after such images were found.
        watch: as in `mine`.

    Raises:
        NumericsError: what was not finite is so when it is computed again.
    """
    reasons: dict[int, str] = {}
    while True:
        heaps = miner.heaps(top_k)
        seen = mine([miner], [heaps], _without(read(), reasons), watch=watch)
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


def _add(miner: Miner, heaps: Heaps, batch: Batch, upload: Upload) -> Tensor:
    device, used = miner.net.device, len(batch.pictures)
    values, places = miner.maxima(upload(batch.images))
    positions = [picture.position for picture in batch.pictures]
    samples = torch.tensor(positions, pin_memory=device.type == "cuda")
    heaps.add(values[:used], places[:used], samples.to(device, non_blocking=True))
    return values[:used]


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
