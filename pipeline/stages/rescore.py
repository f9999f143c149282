"""After screening: look exactly at the images that may be winners, until that is proved enough.

Looks are numbered, and what one looks at follows from the screening and the looks before it
alone; so a run that was interrupted goes on as if nothing had been.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch import Tensor

from pipeline import schema
from pipeline.core.certificate import Flags, first_look, judge, kept, scale_of_errors
from pipeline.core.networks import Net
from pipeline.data.batches import Batch
from pipeline.data.samples import Part
from pipeline.data.shards import Dataset
from pipeline.data.store import Store
from pipeline.stages.heap_files import heap_table, read_tables
from pipeline.stages.mine import Miner, mine
from pipeline.stages.screen import by_part, gather

_MOST_LOOKS = 8


@dataclass(frozen=True)
class SecondLook:
    """Some images of a part to look at again.

    Attributes:
        part: which one.
        look: the number of the look.
        positions: (n,) of the samples, rising.
        maps: (p,) of the candidates near the top whose images these are: the feature map,
        slots: (p,) its place among the map's candidates,
        samples: (p,) and the position of its sample.
    """

    part: Part
    look: int
    positions: NDArray[np.int64]
    maps: NDArray[np.int64]
    slots: NDArray[np.int64]
    samples: NDArray[np.int64]

    @property
    def file(self) -> str:
        """The object that holds what came of it."""
        return schema.rescored_name(self.part.name, self.look)


def rescore_unit(
    net: Net, unit: SecondLook, dataset: Dataset, run: Store, top_k: int, decoders: int = 0
) -> int:
    """Mine a unit exactly and store its heap file.

    Returns:
        How many images were looked at.

    Raises:
        NumericsError: an activation is NaN or infinite; the text names layer and image.
        WriteError: the result could not be stored.
    """
    miner = Miner.exact(net)
    heaps = miner.heaps(top_k)
    exact = np.full(len(unit.maps), np.nan, np.float32)

    def keep(batch: Batch, values: Tensor) -> None:
        positions = np.array([picture.position for picture in batch.pictures])
        rows = np.searchsorted(positions, unit.samples).clip(max=len(positions) - 1)
        here = positions[rows] == unit.samples
        exact[here] = values.cpu().numpy()[rows[here], unit.maps[here]]

    positions = unit.positions.tolist()
    seen = mine([miner], [heaps], lambda: dataset.pick(unit.part, positions), decoders, keep)
    checked = _checked(unit, exact, len(heaps.activations))
    run.write_table(unit.file, heap_table(net, heaps, seen).append_column("checked", checked))
    return len(seen)


def _checked(unit: SecondLook, exact: NDArray[np.float32], maps: int) -> pa.ListArray:
    order = np.argsort(unit.maps, kind="stable")
    counts = np.bincount(unit.maps, minlength=maps)
    entries = pa.StructArray.from_arrays(
        [pa.array(unit.slots[order], pa.int32()), pa.array(exact[order])],
        fields=list(schema.CHECKED),
    )
    offsets = np.concatenate([[0], counts.cumsum()])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), entries)


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
        self._candidates = gather(run, [part.name for part in parts], top_k)
        shape = self._candidates.values.shape
        self._looked_at = np.zeros(shape, bool)
        self._exact = np.full((shape[0], kept(top_k)), np.nan, np.float32)
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
        """The wanted candidates' images by part, and all candidates that these images are."""
        candidates, flat = self._candidates, np.flatnonzero(wanted)
        chosen: dict[int, NDArray[np.int64]] = {}
        for number, where in by_part(candidates.part.ravel()[flat]):
            chosen[number] = np.unique(candidates.position.ravel()[flat[where]])
        units = []
        held = np.flatnonzero(candidates.values > -np.inf)
        for number, where in by_part(candidates.part.ravel()[held]):
            if number in chosen:
                positions = candidates.position.ravel()[held[where]]
                here = held[where][np.isin(positions, chosen[number])]
                self._looked_at.ravel()[here] = True
                maps, slots = np.divmod(here, candidates.values.shape[1])
                near = slots < self._exact.shape[1]
                samples = candidates.position.ravel()[here]
                unit = SecondLook(
                    self._parts[number], self._look, chosen[number],
                    maps[near], slots[near], samples[near],
                )  # fmt: skip
                units.append(unit)
        return units

    def learn(self, units: Sequence[SecondLook]) -> None:
        """Take note of what came of the units of a look, which are all done.

        Raises:
            IncompleteError: a file cannot be read.
        """
        columns = ["winners.list.element.activation", "checked"]
        for table in read_tables(self._run, [unit.file for unit in units], columns):
            lists = table["winners"].combine_chunks()
            lengths = np.diff(lists.offsets.to_numpy())
            new = np.zeros_like(self._best)
            new[np.arange(self._top_k) < lengths[:, None]] = lists.flatten().field("activation")
            both = np.concatenate([self._best, new], 1)
            self._best = -np.sort(-both, axis=1)[:, : self._top_k]
            checked = table["checked"].combine_chunks()
            maps = pc.list_parent_indices(checked).to_numpy()
            entries = checked.flatten()
            self._exact[maps, entries.field("slot")] = entries.field("value")
