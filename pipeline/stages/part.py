"""A part of the dataset, mined: its heaps and statistics, stored."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pipeline import schema
from pipeline.config import Machine
from pipeline.core.heaps.statistics import Statistics, lots, share_classed
from pipeline.core.heaps.topk import Heaps
from pipeline.data.batches import Batch, Numbered, Seen
from pipeline.data.effort import Effort
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.stages.heap_files import heap_table, screen_table, write_skipped
from pipeline.stages.mine import Miner, mine, mine_finite
from pipeline.stages.statistics_file import statistics_table
from pipeline.terminal import warnings_kept

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartDone:
    """What came of one part."""

    part: str
    images: int
    skipped: int
    machine: Machine | None = field(default=None, compare=False)
    effort: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class _Mined:
    """What came of a part for one net."""

    heaps: Heaps
    statistics: Statistics
    seen: Seen


class _Tally:
    """Watches mining, and counts for the statistics of each net."""

    def __init__(self, miners: Sequence[Miner], part: Part, kept: float) -> None:
        self._part = part.name
        self.statistics = []
        for miner in miners:
            classes, maps = part.most_classes, len(miner.bounds)
            classed = share_classed(part.approximate_count, classes, maps)
            # what is screened is only near: those images are looked at again
            exact = 0.0 if miner.screens else kept
            self.statistics.append(Statistics.empty(miner.bounds, exact, classed))

    def __call__(self, batch: Batch, values: Tensor, places: Tensor) -> None:
        positions = np.array([picture.position for picture in batch.pictures])
        classes = [(picture.sample.label, picture.sample.class_name) for picture in batch.pictures]
        drawn = lots(self._part, positions)
        self.statistics[batch.stream].add(values, places, positions, drawn, classes)


def mine_part(
    miners: Sequence[Miner],
    dataset: Dataset,
    part: Part,
    runs: Sequence[Store],
    top_k: int,
    decoders: int = 0,
    kept: float = 1.0,
) -> PartDone:
    """Mine one part for some nets and store what came of it for each.

    Args:
        miners: the nets; the pictures are read and decoded once for all of them. Those that screen
            store near values, and more of them, instead of heaps.
        dataset: what the part belongs to.
        part: which samples.
        runs: where the results of each net go; the same part again stores the same content.
        top_k: ranks kept per feature map.
        decoders: threads that decode, as in `batches`.
        kept: share of the images of which all activations are kept, to choose examples from.

    Raises:
        WriteError: the result could not be stored.
    """

    def read() -> Iterator[Numbered]:
        return enumerate(dataset.read(part))

    def tally(miners: Sequence[Miner]) -> _Tally:
        return _Tally(miners, part, kept)

    effort = Effort()
    with effort.on("seconds"):
        with warnings_kept("pipeline.data") as remarks:
            found = _mine_in_memory(miners, top_k, read, tally, decoders, effort)
        for miner, run, mined in zip(miners, runs, found, strict=True):
            with effort.on("net"):
                # looked at only now: on a GPU every look waits for what is under way
                finite = mined.heaps.finite
            own = mined if finite else _mine_finite(miner, top_k, read, tally)
            with effort.on("writing"):
                _write(miner, own, tuple(remarks), run, part.name)
    seen = found[0].seen
    counts = len(seen.pictures), len(seen.skipped)
    return PartDone(part.name, *counts, miners[0].machine, effort.amounts)


def _mine_in_memory(
    miners: Sequence[Miner],
    top_k: int,
    read: Callable[[], Iterator[Numbered]],
    tally: Callable[[Sequence[Miner]], _Tally],
    decoders: int,
    effort: Effort,
) -> list[_Mined]:
    """All samples; with smaller batches, from now on, where a GPU has no room."""
    while True:
        heaps, watch = [miner.heaps(top_k) for miner in miners], tally(miners)
        try:
            seen = mine(miners, heaps, read(), decoders, watch, effort)
        except torch.OutOfMemoryError:
            if all(miner.stream.size == 1 for miner in miners):
                raise
        else:
            pairs = zip(heaps, watch.statistics, strict=True)
            return [_Mined(*of_net, seen) for of_net in pairs]
        for miner in miners:
            miner.halvings += 1
        sizes = ", ".join(f"{miner.net.name} {miner.stream.size}" for miner in miners)
        log.warning("Too little memory on the GPU: batches are halved (%s images).", sizes)
        torch.cuda.empty_cache()


def _mine_finite(
    miner: Miner,
    top_k: int,
    read: Callable[[], Iterator[Numbered]],
    tally: Callable[[Sequence[Miner]], _Tally],
) -> _Mined:
    """The same for one net, without the images on which it is not finite."""
    tallies: list[_Tally] = []

    def watching() -> _Tally:
        tallies.append(tally([miner]))
        return tallies[-1]

    heaps, seen = mine_finite(miner, top_k, read, watching)
    return _Mined(heaps, tallies[-1].statistics[0], seen)


def _write(miner: Miner, mined: _Mined, remarks: tuple[str, ...], run: Store, part: str) -> None:
    """Store what there is of a part, at last its heaps: the record that it is done."""
    seen = replace(mined.seen, remarks=remarks)
    write_skipped(run, part, seen)
    statistics = statistics_table(miner.net, mined.statistics, seen)
    run.write_table(schema.statistics_name(part), statistics, by="layer")
    table_of, name_of = (
        (screen_table, schema.screen_name) if miner.screens else (heap_table, schema.heap_name)
    )
    table = table_of(miner.net, mined.heaps, seen, miner.machine)
    run.write_table(name_of(part), table, by="layer")
