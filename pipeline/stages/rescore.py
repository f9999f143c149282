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
from pipeline.data.batches import Batch, Numbered
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.data.stored.heaps import read_parts
from pipeline.stages.heap_files import heap_table, lists_of, ranking_values
from pipeline.stages.mine import Miner, mine, mine_finite
from pipeline.stages.screen import gather

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
    def file(self) -> str:
        """The object that holds what came of it."""
        return schema.rescored_name(self.parts[0].name, self.look)

    def read(self, dataset: Dataset) -> Iterator[Numbered]:
        """The images, with their positions in the dataset."""
        ends = np.searchsorted(self.samples, self.starts[1:])
        of_parts = np.split(self.samples, ends)
        for part, start, samples in zip(self.parts, self.starts.tolist(), of_parts, strict=True):
            for position, sample in dataset.pick(part, (samples - start).tolist()):
                yield start + position, sample


def rescore_unit(
    miner: Miner, unit: SecondLook, dataset: Dataset, run: Store, top_k: int, decoders: int = 0
) -> int:
    """Mine a unit exactly and store its heap file.

    Returns:
        How many images were looked at.

    Raises:
        NumericsError: what was not finite is so when it is computed again.
        WriteError: the result could not be stored.
    """
    exact = np.full(len(unit.maps), np.nan, np.float32)

    def keep(batch: Batch, values: Tensor) -> None:
        samples = np.array([picture.position for picture in batch.pictures])
        rows = np.searchsorted(samples, unit.sample_of).clip(max=len(samples) - 1)
        here = samples[rows] == unit.sample_of
        exact[here] = values.cpu().numpy()[rows[here], unit.maps[here]]

    heaps = miner.heaps(top_k)
    seen = mine([miner], [heaps], unit.read(dataset), decoders, keep)
    if not heaps.finite:  # in reduced precision it was
        heaps, seen = mine_finite(miner, top_k, lambda: unit.read(dataset), keep)
    checked = _checked(unit, exact, len(heaps.values))
    table = heap_table(miner.net, heaps, seen, miner.machine).append_column("checked", checked)
    run.write_table(unit.file, table, by="layer")
    return len(seen)


def _checked(unit: SecondLook, exact: NDArray[np.float32], maps: int) -> pa.ListArray:
    order = np.argsort(unit.maps, kind="stable")
    columns = {"slot": unit.slots[order], "value": exact[order]}
    entries = schema.entries_of(columns, schema.CHECKED)
    return lists_of(entries, np.bincount(unit.maps, minlength=maps))


class Looks:
    """The looks of a run whose parts are all screened, one after the other.

    Attributes:
        units: of all looks so far.
        certified: (M,) whether no winner of the map can be missing, as far as is known.

    Raises:
        IncompleteError: a file cannot be read.
    """

    def __init__(self, run: Store, parts: Sequence[Part], top_k: int) -> None:
        self._run, self._parts, self._top_k = run, parts, top_k
        self._candidates, self._starts = gather(run, [part.name for part in parts], top_k)
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
