"""How the projections of a run lie in files: by feature map, each file named by what it holds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import schema
from pipeline.schema import WINNING, Pick

_PIXELS = 12 * 2**20
"""Pixels of the boxes in one file, about: six bytes each before the pictures are compressed."""

_ROWS = 4096
"""Rows of one file, about."""

_NAME = re.compile(r"maps-(\d+)-(\d+)-ranks-(\d+)\.parquet")


@dataclass(frozen=True)
class Block:
    """The projections that one file holds, by map and rank; their winners are all in it.

    A file is never changed. One with more ranks takes the place of one with fewer: until that is
    removed both are there, and the first one counts.

    Attributes:
        layer: of the feature maps.
        first: feature map.
        last: the feature map after the last one.
        ranks: up to this one.
        pick: whether they are of winners or of examples.
    """

    layer: str
    first: int
    last: int
    ranks: int
    pick: Pick = WINNING

    @classmethod
    def named(cls, layer: str, name: str, pick: Pick = WINNING) -> "Block":
        """The block of an object.

        Raises:
            ValueError: it has another name.
        """
        match = _NAME.fullmatch(name.rpartition("/")[2])
        if match is None:
            raise ValueError("its name is none of a file of projections")
        first, last, ranks = map(int, match.groups())
        return cls(layer, first, last, ranks, pick)

    @property
    def name(self) -> str:
        """Of the object."""
        return schema.projections_name(self.layer, self.first, self.last, self.ranks, self.pick)

    @property
    def maps(self) -> range:
        """The feature maps."""
        return range(self.first, self.last)

    def covers(self, other: "Block") -> bool:
        """Whether all that the other holds is in this one too."""
        return replace(other, ranks=self.ranks) == self and self.ranks >= other.ranks

    def has(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which of these rows of its layer are in here."""
        maps, ranks = rows["feature_map"].to_numpy(), rows["rank"].to_numpy()
        of_block: NDArray[np.bool_] = (
            (self.first <= maps) & (maps < self.last) & (ranks <= self.ranks)
        )
        return of_block

    @property
    def rows(self) -> pc.Expression:
        """The same of the rows of a file that is to be read."""
        maps, ranks = pc.field("feature_map"), pc.field("rank")
        return (maps >= self.first) & (maps < self.last) & (ranks <= self.ranks)


def pixels(rows: pa.Table) -> NDArray[np.int64]:
    """How many pixels each row's box has."""
    top, left, bottom, right = (rows[side].to_numpy().astype(np.int64) for side in schema.SIDES)
    areas: NDArray[np.int64] = (bottom - top) * (right - left)
    return areas


def cut(
    layer: str, maps: int, winners: pa.Table, ranks: int, pick: Pick = WINNING
) -> Iterator[Block]:
    """The blocks of a layer, the same whatever ranks are asked for.

    Args:
        layer: with these maps.
        maps: how many.
        winners: all of the layer, by map.
        ranks: up to this one.
        pick: what they are.

    Yields:
        Blocks that together hold every map; a map is never in two.
    """
    owners = winners["feature_map"].to_numpy()
    areas = np.bincount(owners, pixels(winners), maps).cumsum()
    rows = np.bincount(owners, minlength=maps).cumsum()
    first = 0
    while first < maps:
        before = (areas[first - 1], rows[first - 1]) if first else (0, 0)
        last = min(
            int(areas.searchsorted(before[0] + _PIXELS, "right")),
            int(rows.searchsorted(before[1] + _ROWS, "right")),
        )
        last = min(maps, max(last, first + 1))
        yield Block(layer, first, last, ranks, pick)
        first = last
