"""Before stage 2: what of a run waits to be projected, cut into units of work by image.

What is done is seen from the names of objects alone: a block of projections tells what it holds,
and a unit's file is named by what the unit is.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block, cut, pixels
from pipeline.data.stored.results import (
    projection_blocks,
    read_feature_maps,
    read_projected_keys,
    read_winners,
)
from pipeline.schema import WINNING, Pick

_IMAGES_IN_UNIT = 128
_WINNERS_IN_UNIT = 1500

_ORDER = ["sample", *schema.PROJECTED_KEYS]


@dataclass(frozen=True)
class Waiting:
    """What is to be done until a run's projections are complete.

    Attributes:
        units: tables of winners with their `layer`, all of an image in one table, in the order of
            the dataset; in each at least one whose projection is `missing`.
        blocks: that are not there yet.
    """

    units: list[pa.Table]
    blocks: list[Block]

    @classmethod
    def of(cls, several: Iterable["Waiting"]) -> "Waiting":
        """All of several."""
        all_of = list(several)
        return cls(
            [unit for each in all_of for unit in each.units],
            [block for each in all_of for block in each.blocks],
        )

    @property
    def winners(self) -> int:
        """How many are to be projected."""
        return sum(map(missing, self.units))

    @property
    def images(self) -> int:
        """How many have to be fetched for that."""
        return sum(len(pc.unique(unit["sample"])) for unit in self.units)

    @property
    def pixels(self) -> int:
        """How many the winners' boxes have."""
        return sum(int(pixels(unit).sum()) for unit in self.units)


def waiting(
    run: Store, layers: Sequence[str], rank_limit: int | None = None, pick: Pick = WINNING
) -> Waiting:
    """What of a run waits to be projected.

    Args:
        run: a run that has been mined.
        layers: to project.
        rank_limit: only ranks up to this one.
        pick: winners or examples.

    Raises:
        RequestError: the run has not been mined to its end.
        IncompleteError: a table is damaged.
    """
    maps = pa.Table.from_pandas(read_feature_maps(run, ["layer", "max"]))
    tables, blocks = [], []
    for layer in layers:
        of_layer = maps.filter(pc.equal(maps["layer"], layer))
        table, lacking = _of_layer(run, layer, rank_limit, of_layer, pick)
        tables.append(table)
        blocks += lacking
    if not blocks:
        return Waiting([], [])
    winners = pa.concat_tables(tables).combine_chunks()
    winners = winners.sort_by([(name, "ascending") for name in _ORDER])
    # cut first, whatever is done already: of two drivers at once both name their files alike
    return Waiting(_lacking(run, _units(winners), pick), blocks)


def missing(unit: pa.Table) -> int:
    """How many winners of a unit of work have no projection yet."""
    return int(pc.sum(unit["missing"]).as_py() or 0)


def unit_name(unit: pa.Table) -> str:
    """A name that follows from which winners of a unit are missing."""
    keys = unit.filter(unit["missing"]).select(schema.PROJECTED_KEYS).to_pandas()
    return f"part-{hashlib.sha256(keys.to_csv(index=False).encode()).hexdigest()[:16]}"


def _of_layer(
    run: Store, layer: str, rank_limit: int | None, maps: pa.Table, pick: Pick
) -> tuple[pa.Table, list[Block]]:
    """The winners of a layer, its `largest` activation and what is `missing`; and the blocks."""
    winners = read_winners(run, layer, pick=pick)
    deepest = pc.max(winners["rank"]).as_py() or 0
    ranks = min(deepest, rank_limit or deepest)
    there = projection_blocks(run, layer, pick)
    blocks = list(cut(layer, len(maps), winners, ranks, pick))
    lacking = [block for block in blocks if not any(other.covers(block) for other in there)]
    winners = winners.filter(pc.less_equal(winners["rank"], ranks))
    missing = np.ones(len(winners), bool)
    for block in there:
        missing &= ~block.has(winners)
    columns = {
        "layer": pa.array([layer] * len(winners), pa.string()),
        "missing": pa.array(missing),
        "largest": pa.array(np.full(len(winners), pc.max(maps["max"]).as_py(), np.float32)),
    }
    for name, column in columns.items():
        winners = winners.append_column(name, column)
    return winners, lacking


def _units(winners: pa.Table) -> list[pa.Table]:
    """Winners in the order of their samples, cut between images."""
    samples = winners["sample"].to_numpy()
    starts = np.flatnonzero(np.diff(samples, prepend=-1))  # of each image
    ends = np.append(starts[1:], len(samples))
    cuts, images = [0], 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if images == _IMAGES_IN_UNIT or (images and end - cuts[-1] > _WINNERS_IN_UNIT):
            cuts.append(start)
            images = 0
        images += 1
    bounds = zip(cuts, [*cuts[1:], len(samples)], strict=True)
    return [winners.slice(start, end - start) for start, end in bounds]


def _lacking(run: Store, units: Sequence[pa.Table], pick: Pick) -> list[pa.Table]:
    """The units that are not done, without what was projected of them in another unit."""
    there = run.list(pick.projected)
    names = [schema.projected_name(unit_name(unit), pick) for unit in units]
    others = read_projected_keys(run, sorted(there.keys() - set(names)))
    done = pd.MultiIndex.from_frame(
        pd.concat([pd.DataFrame(columns=schema.PROJECTED_KEYS), *others.values()])
    )
    left = []
    for name, unit in zip(names, units, strict=True):
        if name in there:
            continue
        if len(done):
            keys = pd.MultiIndex.from_frame(unit.select(schema.PROJECTED_KEYS).to_pandas())
            lacks = unit["missing"].to_numpy() & ~keys.isin(done)
            place = unit.column_names.index("missing")
            unit = unit.set_column(place, "missing", pa.array(lacks))
        if missing(unit):
            left.append(unit)
    return left
