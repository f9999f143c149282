"""How projections are cut into files."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import schema
from pipeline.data.stored import blocks
from pipeline.data.stored.blocks import Block, cut

KEY = pa.schema([schema.WINNER.field(name) for name in ("feature_map", "rank", *schema.SIDES)])


def winners(counts: list[int], side: int) -> pa.Table:
    """So many winners of each map, whose boxes have this side."""
    rows = [
        {"feature_map": number, "rank": rank, "top": 1, "left": 2, "bottom": 1 + side, "right": 2}
        | {"right": 2 + side}
        for number, count in enumerate(counts)
        for rank in range(1, count + 1)
    ]
    return pa.Table.from_pylist(rows, KEY)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 9))
def test_every_winner_is_in_one_block_and_no_block_is_large(counts: list[int], side: int) -> None:
    table = winners(counts, side)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(blocks, "_PIXELS", 200)
        small.setattr(blocks, "_ROWS", 15)
        made = list(cut("a", len(counts), table, 9))
        assert [(b.first, b.last) for b in made] == [
            (b.first, b.last) for b in cut("a", len(counts), table, 3)
        ]
    assert [block.first for block in made] == [0, *(block.last for block in made[:-1])]
    assert made[-1].last == len(counts)
    for block in made:
        rows = sum(counts[block.first : block.last])
        fits = rows <= 15 and rows * side**2 <= 200
        assert fits or block.last == block.first + 1, "one map alone may be larger"
        assert block.has(table).sum() == rows == len(table.filter(block.rows))
    assert sum(np.stack([block.has(table) for block in made])).tolist() == [1] * len(table)


def test_a_name_tells_what_is_in_it() -> None:
    block = Block("a/b %", 0, 123456, 9)
    assert Block.named("a/b %", block.name) == block
    assert block.covers(Block("a/b %", 0, 123456, 8))
    assert not block.covers(Block("a/b %", 0, 123456, 10))
    assert not block.covers(Block("a/b %", 0, 123455, 9))
    with pytest.raises(ValueError, match="its name"):
        Block.named("a", "projections/layer=a/part-0.parquet")
