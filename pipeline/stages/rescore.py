"""After screening: look exactly at the images that may be winners, until that is proved enough.

Looks are numbered, and what one looks at follows from the screening and the looks before it
alone; so a run that was interrupted goes on as if nothing had been.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch import Tensor

from pipeline import schema
from pipeline.core.heaps.certificate import Flags, first_look, judge, scale_of_errors, screen_depth
from pipeline.core.heaps.statistics import UNKNOWN, Statistics, lots
from pipeline.core.heaps.topk import Bounds
from pipeline.data.batches import Batch, Numbered
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.data.stored import part_columns
from pipeline.data.stored.heaps import read_parts
from pipeline.stages.heap_files import heap_table, lists_of, ranking_values
from pipeline.stages.mine import Miner, mine, mine_finite
from pipeline.stages.screen import gather
from pipeline.stages.statistics_file import statistics_table

_MOST_LOOKS = 8

_FEWEST_IMAGES = 256
"""That are looked at in one task, where there are so many: batches of few are mostly padding."""

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class SecondLook:
    """Some images to look at again, of parts that follow one another.

    Attributes:
        look: the number of the look.
        parts: that the images are in.
        starts: where each of these starts in the dataset.
        samples: (n,) the images' positions in the dataset, rising.
        maps: (p,) of the candidates near the top whose images these are: the feature map,
        slots: (p,) its place among the map's candidates,
        sample_of: (p,) and the image's position in the dataset.
    """

    look: int
    parts: tuple[Part, ...]
    starts: Positions
    samples: Positions
    maps: Positions
    slots: Positions
    sample_of: Positions

    @property
    def drawn(self) -> NDArray[np.float64]:
        """(n,) the lots of the images."""
        of_parts = zip(self.parts, self.starts, self._of_parts, strict=True)
        return np.concatenate([lots(part.name, own - start) for part, start, own in of_parts])

    @property
    def _of_parts(self) -> list[Positions]:
        return np.split(self.samples, np.searchsorted(self.samples, self.starts[1:]))

    @property
    def file(self) -> str:
        """The object that holds what came of it."""
        return schema.rescored_name(self.parts[0].name, self.look)

    @property
    def statistics_file(self) -> str:
        """Another one, with the images that are kept whole; it is there before."""
        return schema.statistics_of_look(self.file)

    def read(self, dataset: Dataset) -> Iterator[Numbered]:
        """The images, with their positions in the dataset."""
        of_parts = zip(self.parts, self.starts.tolist(), self._of_parts, strict=True)
        for part, start, samples in of_parts:
            for position, sample in dataset.pick(part, (samples - start).tolist()):
                yield start + position, sample


def rescore_unit(
    miner: Miner,
    unit: SecondLook,
    dataset: Dataset,
    run: Store,
    top_k: int,
    decoders: int = 0,
    kept: float = 1.0,
) -> int:
    """Mine a unit exactly and store its heap file, and the activations of images that are kept.

    Returns:
        How many images were looked at.

    Raises:
        NumericsError: what was not finite is so when it is computed again.
        WriteError: the result could not be stored.
    """
    tallies: list[_Tally] = []

    def watching() -> _Tally:
        tallies.append(_Tally(miner.bounds, unit, kept))
        return tallies[-1]

    heaps = miner.heaps(top_k)
    seen = mine([miner], [heaps], unit.read(dataset), decoders, watching())
    if not heaps.finite:  # in reduced precision it was
        heaps, seen = mine_finite(miner, top_k, lambda: unit.read(dataset), watching)
    tally = tallies[-1]
    run.write_table(
        unit.statistics_file, statistics_table(miner.net, tally.statistics, seen), by="layer"
    )
    table = heap_table(miner.net, heaps, seen, miner.machine)
    run.write_table(unit.file, table.append_column("checked", tally.checked()), by="layer")
    return len(seen)


class _Tally:
    """Watches a second look: what the candidates are exactly, and images that are kept whole."""

    def __init__(self, bounds: Bounds, unit: SecondLook, kept: float) -> None:
        self.statistics = Statistics.empty(bounds, kept, classed=0.0)
        self._exact = np.full(len(unit.maps), np.nan, np.float32)
        self._unit, self._drawn, self._maps = unit, unit.drawn, len(bounds)

    def __call__(self, batch: Batch, values: Tensor, places: Tensor) -> None:
        unit = self._unit
        samples = np.array([picture.position for picture in batch.pictures])
        drawn = self._drawn[np.searchsorted(unit.samples, samples)]
        self.statistics.add(values, places, samples, drawn, [UNKNOWN] * len(samples))
        rows = np.searchsorted(samples, unit.sample_of).clip(max=len(samples) - 1)
        here = samples[rows] == unit.sample_of
        self._exact[here] = values.cpu().numpy()[rows[here], unit.maps[here]]

    def checked(self) -> pa.ListArray:
        """For each map its candidates, and their exact values."""
        order = np.argsort(self._unit.maps, kind="stable")
        columns = {"slot": self._unit.slots[order], "value": self._exact[order]}
        entries = schema.entries_of(columns, part_columns.CHECKED)
        return lists_of(entries, np.bincount(self._unit.maps, minlength=self._maps))


def _kept(parts: Sequence[Part], starts: Positions, share: float) -> Positions:
    """The images of which all activations are kept, by their positions in the dataset."""
    found = [np.empty(0, np.int64)]
    for part, first, end in zip(parts, starts[:-1], starts[1:], strict=True):
        found.append(first + np.flatnonzero(lots(part.name, np.arange(end - first)) < share))
    return np.concatenate(found)


class Looks:
    """The looks of a run whose parts are all screened, one after the other.

    Args:
        run: where it is.
        parts: of its dataset.
        top_k: ranks.
        kept: share of the images of which all activations are kept; the first look is at all these.

    Attributes:
        units: of all looks so far.
        certified: (M,) whether no winner of the map can be missing, as far as is known.

    Raises:
        IncompleteError: a file cannot be read.
    """

    def __init__(self, run: Store, parts: Sequence[Part], top_k: int, kept: float = 1.0) -> None:
        self._run, self._parts, self._top_k = run, parts, top_k
        self._candidates, starts = gather(run, [part.name for part in parts], top_k)
        self._starts, self._kept = starts[:-1], _kept(parts, starts, kept)
        shape = self._candidates.values.shape
        self._looked_at = np.zeros(shape, bool)
        self._exact = np.full((shape[0], screen_depth(top_k)), np.nan, np.float32)
        self._best = np.zeros((shape[0], top_k), np.float32)
        self._look = 0
        self.units: list[SecondLook] = []
        self.certified: Flags = np.zeros(shape[0], bool)

    def next(self) -> list[SecondLook]:
        """What to look at next; nothing when all is known that can be."""
        candidates = self._candidates
        if self._look == 0:
            wanted = candidates.values > -np.inf
            wanted[:, first_look(self._top_k) :] = False
        else:
            near = candidates.values[:, : self._exact.shape[1]]
            verdict = judge(
                candidates.values,
                self._looked_at,
                candidates.outside,
                candidates.below,
                self._best[:, -1],
                scale_of_errors(self._exact - near),
            )
            self.certified, wanted = verdict.certified, verdict.wanted
        if self._look == _MOST_LOOKS or not wanted.any():
            return []
        made = self._units(wanted)
        self.units += made
        self._look += 1
        return made

    def _units(self, wanted: Flags) -> list[SecondLook]:
        """The wanted candidates' images, some parts together, and all candidates that they are."""
        values, samples = self._candidates.values, self._candidates.sample
        images = np.unique(samples[wanted])
        if self._look == 0:
            images = np.union1d(images, self._kept)
        nearest = np.searchsorted(images, samples).clip(max=len(images) - 1)
        here = (images[nearest] == samples) & (values > -np.inf)
        self._looked_at |= here
        maps, slots = here[:, : self._exact.shape[1]].nonzero()
        order = np.argsort(samples[maps, slots], kind="stable")
        maps, slots = maps[order], slots[order]
        sample_of = samples[maps, slots]
        units = []
        for together in self._together(images):
            first, end = np.searchsorted(sample_of, [together[0], together[-1] + 1])
            numbers = np.unique(np.searchsorted(self._starts, together, side="right") - 1)
            parts = tuple(self._parts[number] for number in numbers)
            pairs = (maps[first:end], slots[first:end], sample_of[first:end])
            units.append(SecondLook(self._look, parts, self._starts[numbers], together, *pairs))
        return units

    def _together(self, images: Positions) -> list[Positions]:
        """Images of whole parts, enough of them to fill some batches."""
        ends = np.searchsorted(images, self._starts[1:])  # of each part but the last
        cuts, begin = [], 0
        for end in ends.tolist():
            if end - begin >= _FEWEST_IMAGES:
                cuts.append(begin := end)
        return [together for together in np.split(images, cuts) if len(together)]

    def learn(self, units: Sequence[SecondLook]) -> None:
        """Take note of what came of the units of a look, which are all done.

        Raises:
            IncompleteError: a file cannot be read.
        """
        values = [f"winners.list.element.{name}" for name in schema.RANKED_BY]
        columns = [*values, "checked"]
        for table in read_parts(self._run, [unit.file for unit in units], columns):
            lists = table["winners"].combine_chunks()
            lengths = np.diff(lists.offsets.to_numpy())
            new = np.zeros_like(self._best)
            new[np.arange(self._top_k) < lengths[:, None]] = ranking_values(
                pa.Table.from_struct_array(lists.flatten())
            )
            both = np.concatenate([self._best, new], 1)
            self._best = -np.sort(-both, axis=1)[:, : self._top_k]
            checked = table["checked"].combine_chunks()
            maps = pc.list_parent_indices(checked).to_numpy()
            entries = checked.flatten()
            self._exact[maps, entries.field("slot")] = entries.field("value")
