"""A table as the bytes of a Parquet object."""

from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def encoded(table: pa.Table, group: int | None = None, by: str | None = None) -> bytes:
    """A table in Parquet, with a checksum for every page: a flipped bit is noticed.

    Args:
        table: its rows.
        group: rows that can be read alone, where not the whole is.
        by: a column; where it changes, such a group ends.
    """
    sink = pa.BufferOutputStream()
    # pictures are never alike, and nobody asks for the smallest one
    comparable: list[str] | bool = True
    if pa.binary() in table.schema.types:
        comparable = [field.name for field in table.schema if field.type != pa.binary()]
    with pq.ParquetWriter(
        sink, table.schema, write_page_checksum=True, compression="zstd",
        use_dictionary=comparable, write_statistics=comparable,
    ) as writer:  # fmt: skip
        for rows in _pieces(table, by):
            writer.write_table(rows, group)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _pieces(table: pa.Table, by: str | None) -> Iterator[pa.Table]:
    """A table in pieces that have one value each in a column."""
    if by is None or not len(table):
        yield table
        return
    ends = pc.run_end_encode(table[by].combine_chunks()).run_ends.to_pylist()
    for start, end in pairwise([0, *ends]):
        yield table.slice(start, end - start)
