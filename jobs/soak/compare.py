"""What two runs must have in common."""

import re

import pyarrow as pa

from pipeline import schema
from pipeline.data.store import Store

_KNOWN = (schema.DISTRIBUTIONS, schema.CLASSES)
_TABLES = (
    *(folder for pick in schema.PICKS for folder in (pick.rows, pick.projections)),
    *_KNOWN,
    schema.FEATURE_MAPS,
    schema.SKIPPED,
)
_SAME_NAMES = (
    schema.HEAPS,
    schema.STATISTICS,
    schema.SKIPPED,
    *(folder for pick in schema.PICKS for folder in pick),
    *_KNOWN,
    schema.ATLAS,
)
_DAY = re.compile(rb'\["Mined on","[^"]*"\]|"year":"\d*"')
"""In the index: on which a run was mined, which two runs need not have in common."""

_ORDER = ("folder", "feature_map", "rank", "lower", "label", "shard", "key")


class DifferenceError(Exception):
    """A run under faults is not what the undisturbed one is; its text says in what."""


def require_same(one: Store, other: Store) -> None:
    """Both hold the same rows, the same atlas, and nothing that a reader could take for data.

    Raises:
        DifferenceError: they do not.
    """
    for prefix in _SAME_NAMES:
        if odd := one.list(prefix).keys() ^ other.list(prefix).keys():
            raise DifferenceError(f"in one alone: {', '.join(sorted(odd))}")
    for table in _TABLES:
        if not _rows(one, table).equals(_rows(other, table)):
            raise DifferenceError(f"{table} differ")
    for name in one.list(schema.ATLAS):
        if _DAY.sub(b"", one.read(name)) != _DAY.sub(b"", other.read(name)):
            raise DifferenceError(f"{name} differs")


def _rows(run: Store, prefix: str) -> pa.Table:
    """The rows of all files below a prefix, as a reader finds them, in one order."""
    tables = []
    for name in run.list(prefix):
        if not name.endswith(".parquet"):
            raise DifferenceError(f"{run.url}/{name} is no table")
        table = run.read_table(name)
        folder = pa.array([name.rpartition("/")[0]] * len(table), pa.string())
        tables.append(table.append_column("folder", folder))
    if not tables:
        raise DifferenceError(f"{run.url}/{prefix} is not there")
    rows = pa.concat_tables(tables)
    order = [(name, "ascending") for name in _ORDER if name in rows.column_names]
    return rows.sort_by(order).combine_chunks()
