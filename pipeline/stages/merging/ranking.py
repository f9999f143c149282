"""The best entries of many heap files, as numbers; and what else these files say, summed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import schema
from pipeline.stages.heap_files import ranking_values

_MOST_WAITING = 2**20
"""Entries that are collected before they are ranked among the best so far."""

_STATISTICS = ("images", "active", "max", "total", "total_squares")

RANKING = [f"winners.list.element.{name}" for name in (*schema.RANKED_BY, "sample")]
"""The columns that a ranking needs: few bytes of the many that an entry has."""

STATISTICS = ["layer", "feature_map", *_STATISTICS]


@dataclass(frozen=True)
class Entries:
    """Entries of heap files, one in each place of all arrays.

    Attributes:
        owner: the feature map, by its row in the files.
        value: it is ranked by.
        activation: what rectification leaves of it.
        sample: its position in the dataset.
        file: that it is in, by number.
        place: in that file, among the entries of all its rows.
    """

    owner: NDArray[np.int64]
    value: NDArray[np.float32]
    activation: NDArray[np.float32]
    sample: NDArray[np.int64]
    file: NDArray[np.int64]
    place: NDArray[np.int64]

    @classmethod
    def of(cls, heap: pa.Table, file: int, before: int) -> "Entries":
        """All entries of a table; its samples are counted from `before` on."""
        lists = heap["winners"].combine_chunks()
        entries = pa.Table.from_struct_array(pc.list_flatten(lists))
        return cls(
            pc.list_parent_indices(lists).to_numpy().astype(np.int64),
            ranking_values(entries),
            entries["activation"].to_numpy(),
            entries["sample"].to_numpy() + before,
            np.full(len(entries), file),
            np.arange(len(entries)),
        )

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, chosen: NDArray[np.generic]) -> "Entries":
        return Entries(*(values[chosen] for values in vars(self).values()))

    @classmethod
    def joined(cls, several: list["Entries"]) -> "Entries":
        """All of several."""
        none = cls(*(np.empty(0, kind) for kind in ("i8", "f4", "f4", "i8", "i8", "i8")))
        columns = zip(*(vars(entries).values() for entries in (none, *several)), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


class Ranking:
    """The first entries of each feature map in the total order, whatever the order they come in.

    Args:
        top_k: ranks.
    """

    def __init__(self, top_k: int) -> None:
        self._top_k = top_k
        self._ranked = 0
        self._held: list[Entries] = []
        self._bars: NDArray[np.float32] | None = None

    def add(self, heap: pa.Table, file: int, before: int = 0) -> None:
        """The entries of one more file, whose samples are counted from `before` on."""
        new = Entries.of(heap, file, before)
        if self._bars is not None:
            new = new[new.value >= self._bars[new.owner]]
        self._held.append(new)
        if sum(map(len, self._held)) - self._ranked > max(_MOST_WAITING, self._ranked):
            self._rank(len(heap))

    def _rank(self, maps: int) -> None:
        best = self.best()
        self._held, self._ranked = [best], len(best)
        self._bars = np.full(maps, -np.inf, np.float32)
        self._bars[best.owner] = best.value  # the last one of a map stays: its weakest
        self._bars[np.bincount(best.owner, minlength=maps) < self._top_k] = -np.inf

    def best(self) -> Entries:
        """The best of all that came, by feature map and rank."""
        entries = Entries.joined(self._held)
        entries = entries[np.lexsort((entries.sample, -entries.value, entries.owner))]
        return entries[ranks(entries.owner) <= self._top_k]


def ranks(owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranks from 1 of entries that are sorted by their owners, and by rank."""
    place = np.arange(len(owner))
    is_first = np.diff(owner, prepend=-1) != 0
    first: NDArray[np.int64] = np.maximum.accumulate(np.where(is_first, place, 0))
    return place - first + 1


class Statistics:
    """Sums over parts, added up in their order, so that they are the same always."""

    def __init__(self) -> None:
        self._maps: pa.Table | None = None
        self._sums: dict[str, NDArray[np.number]] = {}

    def add(self, heap: pa.Table) -> None:
        """Those of one more part."""
        if self._maps is None:
            self._maps = heap.select(["layer", "feature_map"])
        for name in _STATISTICS:
            values = heap[name].to_numpy()
            join = np.maximum if name == "max" else np.add
            self._sums[name] = join(self._sums[name], values) if name in self._sums else values

    def columns(self) -> dict[str, Any]:
        """The sums by name, and whose they are."""
        assert self._maps is not None, "a dataset has parts"
        maps = {name: self._maps[name].combine_chunks() for name in self._maps.column_names}
        return maps | self._sums

    @property
    def images(self) -> NDArray[np.int64]:
        """(M,) that were seen."""
        return self._sums["images"].astype(np.int64)

    def table(self, known: Mapping[str, Any]) -> pa.Table:
        """The feature maps' table, every map of it certified.

        Args:
            known: its other columns.
        """
        assert self._maps is not None, "a dataset has parts"
        images = self._sums["images"]
        with np.errstate(invalid="ignore"):  # no images at all is refused by the caller
            mean = self._sums["total"] / images
            variance = self._sums["total_squares"] / images - mean**2
        most = self._sums["max"].clip(min=0)
        columns = {
            **known,
            # of a bucket only its middle is known
            **{name: np.minimum(known[name], most) for name in schema.QUANTILES},
            "layer": self._maps["layer"].combine_chunks(),
            "feature_map": self._maps["feature_map"].combine_chunks(),
            "images": images,
            "active": self._sums["active"],
            "max": self._sums["max"],
            "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0)),
            "certified": np.ones(len(images), bool),
        }
        return schema.table_of(columns, schema.FEATURE_MAP)
