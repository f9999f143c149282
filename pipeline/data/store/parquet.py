"""A table as the bytes of a Parquet object."""

from collections.abc import Iterable, Iterator
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
    with pq.ParquetWriter(
        sink, table.schema, write_page_checksum=True, compression="zstd",
        use_dictionary=list(_texts(table.schema)), write_statistics=list(_filters(table.schema)),
    ) as writer:  # fmt: skip
        for rows in _pieces(table, by):
            writer.write_table(rows, group)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _texts(fields: Iterable[pa.Field], path: str = "") -> Iterator[str]:
    """The columns that hold the same again and again: numbers and pictures do not."""
    for field in fields:
        if field.type == pa.string():
            yield f"{path}{field.name}"
        elif pa.types.is_list(field.type):
            element = field.type.value_field.with_name("element")  # as Parquet has it
            yield from _texts([element], f"{path}{field.name}.list.")
        elif pa.types.is_struct(field.type):
            yield from _texts(field.type, f"{path}{field.name}.")


def _filters(fields: Iterable[pa.Field]) -> Iterator[str]:
    """The columns by which readers choose rows: no lists and no pictures."""
    for field in fields:
        if not pa.types.is_nested(field.type) and field.type != pa.binary():
            yield field.name


def _pieces(table: pa.Table, by: str | None) -> Iterator[pa.Table]:
    """A table in pieces that have one value each in a column."""
    if by is None or not len(table):
        yield table
        return
    ends = pc.run_end_encode(table[by].combine_chunks()).run_ends.to_pylist()
    for start, end in pairwise([0, *ends]):
        yield table.slice(start, end - start)
