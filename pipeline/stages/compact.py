"""After stage 2: what was projected image by image goes into files by feature map."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.core.duplicates import same_as
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block
from pipeline.data.stored.results import (
    all_blocks,
    projection_blocks,
    read_projected_keys,
    read_winners,
)
from pipeline.data.stored.tables import read_rows
from pipeline.errors import IncompleteError
from pipeline.schema import WINNING, Pick

_ORDER = [("feature_map", "ascending"), ("rank", "ascending")]


@dataclass(frozen=True)
class Compaction:
    """A block to be made, and the files with what tasks have projected of it."""

    block: Block
    files: tuple[str, ...]


def compactions(run: Store, blocks: Sequence[Block], pick: Pick = WINNING) -> list[Compaction]:
    """How the blocks of a run are made, once all their winners, or examples, are projected.

    Raises:
        IncompleteError: a file is damaged.
    """
    keys = read_projected_keys(run, list(run.list(pick.projected)))
    files: dict[Block, list[str]] = {block: [] for block in blocks}
    by_layer = _by_layer(blocks)
    for name, rows in keys.items():
        for block in _rows_in(rows, by_layer):
            files[block].append(name)
    return [Compaction(block, tuple(names)) for block, names in files.items()]


def compact(run: Store, work: Compaction) -> Block:
    """Make a block of projections, whoever makes it or one with other ranks at the same time.

    Returns:
        The block that is there now: this one, or one that holds more.

    Raises:
        IncompleteError: some of its winners are not projected.
        WriteError: the block could not be stored.
    """
    block = work.block
    tables = [table for name in work.files if (table := _read(run, name, block)) is not None]
    # listed after that: what tasks projected is removed once it is in a block
    there = _of_maps(run, block)
    if not any(other.covers(block) for other in there):
        lesser = max(there, key=lambda other: other.ranks, default=None)
        if lesser is not None:
            tables.insert(0, read_rows(run, lesser.name, schema.PROJECTION, None, block.rows))
        run.write_table(block.name, _sorted(run, block, tables), schema.ROWS_READ)
    # listed once more: of two who write at once, the second one sees both
    there = _of_maps(run, block)
    best = max(there, key=lambda other: other.ranks)
    for other in there - {best}:
        run.remove(other.name)
    return best


def clear(run: Store, layers: Iterable[str], pick: Pick = WINNING) -> None:
    """Remove what is twice in a run: blocks that others cover, and what is in blocks by now.

    Args:
        run: that is projected.
        layers: of the blocks to look at; what tasks projected is of any.
        pick: of winners or of examples.

    Raises:
        IncompleteError: a file is damaged.
        WriteError: removing is not allowed.
    """
    for layer in layers:
        lesser = all_blocks(run, layer, pick).keys() - projection_blocks(run, layer, pick).keys()
        for block in lesser:
            run.remove(block.name)
    keys = read_projected_keys(run, list(run.list(pick.projected)))
    found = {str(layer) for rows in keys.values() for layer in rows["layer"].unique()}
    blocks = {layer: list(projection_blocks(run, layer, pick)) for layer in found}
    for name, rows in keys.items():
        if sum(_rows_in(rows, blocks).values()) == len(rows):
            run.remove(name)


def _by_layer(blocks: Iterable[Block]) -> dict[str, list[Block]]:
    layers: dict[str, list[Block]] = {}
    for block in blocks:
        layers.setdefault(block.layer, []).append(block)
    return layers


def _rows_in(rows: pd.DataFrame, blocks: Mapping[str, Sequence[Block]]) -> dict[Block, int]:
    """How many of these rows are in each block, given the blocks by layer; without those at 0."""
    counts = {
        block: int(block.has(of_layer).sum())
        for layer, of_layer in rows.groupby("layer", observed=True)
        for block in blocks.get(str(layer), ())
    }
    return {block: count for block, count in counts.items() if count}


def _of_maps(run: Store, block: Block) -> set[Block]:
    """What is there of these maps, up to whatever rank."""
    maps = replace(block, ranks=0)
    return {other for other in all_blocks(run, block.layer, block.pick) if other.covers(maps)}


def _read(run: Store, name: str, block: Block) -> pa.Table | None:
    """What tasks projected of a block; None if the file is gone."""
    of_block = block.rows & (pc.field("layer") == block.layer)
    try:
        return read_rows(run, name, schema.PROJECTED_ROW, None, of_block).drop_columns("layer")
    except FileNotFoundError:
        return None


def _sorted(run: Store, block: Block, tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of the block's winners, each once, by map and rank.

    Raises:
        IncompleteError: some are not there.
    """
    keys = schema.PROJECTED_KEYS[1:]
    winners = read_winners(run, block.layer, keys, block.pick)
    winners = winners.filter(pa.array(block.has(winners))).sort_by(_ORDER)
    if not len(winners):
        return schema.PROJECTION.empty_table()
    rows = pa.concat_tables(tables or [schema.PROJECTION.empty_table()])
    found = pd.MultiIndex.from_frame(rows.select(keys).to_pandas())
    first = np.flatnonzero(~found.duplicated())
    place = found[first].get_indexer(pd.MultiIndex.from_frame(winners.to_pandas()))
    if missing := int((place < 0).sum()):
        raise IncompleteError(
            f"{missing} winners of {block.layer} are not projected; give the same command again."
        )
    return _marked(rows.take(first[place]))


def _marked(rows: pa.Table) -> pa.Table:
    """The rows, by map and rank, with the rank that has their picture already."""
    marks: list[int | None] = []
    columns = rows.select(["feature_map", "rank", "picture_hash"]).to_pylist()
    for _, of_map in groupby(columns, key=itemgetter("feature_map")):
        winners = list(of_map)
        earlier = same_as([winner["picture_hash"] for winner in winners])
        marks += [None if place is None else winners[place]["rank"] for place in earlier]
    field = schema.PROJECTION.field("same_as")
    return rows.set_column(rows.column_names.index(field.name), field, pa.array(marks, field.type))
