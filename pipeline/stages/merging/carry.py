"""Projections of a run whose dataset has grown: those whose winners are still there stay.

Winners may have other ranks and positions in the dataset then. What is left of a file goes where
tasks put what they projected, and from there into blocks as all of it does.
"""

import hashlib
from collections.abc import Set

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.data.store import Store
from pipeline.data.stored.blocks import cut
from pipeline.data.stored.results import all_blocks
from pipeline.data.stored.tables import read_table
from pipeline.schema import WINNING, Pick

_SAME = ["feature_map", "shard", "key", "y", "x"]
"""What tells that two rows are of one winner."""


def carry_blocks(
    run: Store, layer: str, maps: int, winners: pa.Table, pick: Pick = WINNING
) -> None:
    """Keep of a layer's projections what is of these winners.

    Args:
        run: where they are.
        layer: one of its layers.
        maps: how many it has.
        winners: its new ones.
        pick: what they are: winners or examples.

    Raises:
        IncompleteError: a file is damaged.
        WriteError: it could not be written or removed.
    """
    for block in all_blocks(run, layer, pick):
        rows = read_table(run, block.name, schema.PROJECTION)
        kept = _kept(rows, winners)
        is_whole = kept.equals(rows) and len(rows) == block.has(winners).sum()
        if is_whole and block in cut(layer, maps, winners, block.ranks, pick):
            continue
        column = pa.array([layer] * len(kept), pa.string())
        _stage(run, block.name, kept.add_column(0, "layer", column), pick)
        run.remove(block.name)


def carry_projected(run: Store, layers: Set[str], pick: Pick = WINNING) -> None:
    """Keep of what tasks have projected what is of winners, of layers that are all merged.

    Raises:
        IncompleteError: a file is damaged.
        WriteError: it could not be written or removed.
    """
    winners: dict[str, pa.Table] = {}
    for name in run.list(pick.projected):
        rows = read_table(run, name, schema.PROJECTED_ROW)
        kept = rows.slice(0, 0)
        for layer in sorted(layers & set(rows["layer"].unique().to_pylist())):
            if layer not in winners:
                winners[layer] = read_table(run, schema.of_layer(pick.rows, layer), schema.WINNER)
            of_layer = rows.filter(pc.equal(rows["layer"], layer))
            kept = pa.concat_tables([kept, _kept(of_layer, winners[layer])])
        if not kept.equals(rows):
            _stage(run, name, kept, pick)
            run.remove(name)


def _kept(rows: pa.Table, winners: pa.Table) -> pa.Table:
    """The rows that are of winners, with all that is said of these now."""
    sought = pd.MultiIndex.from_frame(winners.select(_SAME).to_pandas())
    if sought.has_duplicates:  # of one name in one tar: which is which cannot be told
        winners = winners.filter(pa.array(~sought.duplicated(keep=False)))
        sought = pd.MultiIndex.from_frame(winners.select(_SAME).to_pandas())
    place = sought.get_indexer(pd.MultiIndex.from_frame(rows.select(_SAME).to_pandas()))
    found = np.flatnonzero(place >= 0)
    kept, of_winners = rows.take(found), winners.take(place[found])
    moved = ("rank", "sample", "label", "class_name", schema.QUANTILE.name)
    for name in (name for name in moved if name in kept.column_names):
        kept = kept.set_column(
            kept.column_names.index(name), rows.schema.field(name), of_winners[name]
        )
    return kept.sort_by([(name, "ascending") for name in ("feature_map", "rank")])


def _stage(run: Store, name: str, rows: pa.Table, pick: Pick) -> None:
    """Put rows where tasks put theirs, under a name that follows from where they were."""
    if len(rows):
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        run.write_table(schema.projected_name(f"kept-{digest}", pick), rows, schema.ROWS_READ)
