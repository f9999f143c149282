"""A run's tables, read as the contract has them or not at all: damage is one sentence."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.data.store import Store
from pipeline.errors import IncompleteError

_MINE = "give the same `deconv-atlas mine` command again"
_OF_PART = f"remove it, and {{run}}/{schema.FEATURE_MAPS} if that is there, and {_MINE}"
_MERGED = f"remove {{run}}/{schema.FEATURE_MAPS} and {_MINE}, which merges the heaps anew"
_REMEDIES = {
    schema.LISTING: "remove it, and DATA is listed again",
    schema.HEAPS: _OF_PART,
    schema.SCREEN: _OF_PART,
    schema.STATISTICS: _OF_PART,
    schema.SKIPPED: f"remove it, the part's other files and {{run}}/{schema.FEATURE_MAPS}, "
    f"and {_MINE}",
    schema.WINNERS: _MERGED,
    schema.DISTRIBUTIONS: _MERGED,
    schema.CLASSES: _MERGED,
    schema.EXAMPLES: _MERGED,
    schema.FEATURE_MAPS: _MERGED,
    schema.PROJECTION_SETTINGS: "remove it and {run}/projections, and give the same "
    "`deconv-atlas project` command again",
    schema.EXPLAIN: "remove it and give the same `deconv-atlas explain` command again",
    "occlusion": "remove it and give the same `deconv-atlas occlude` command again",
    **{
        folder: "remove it and give the same `deconv-atlas project` command again"
        for pick in schema.PICKS
        for folder in (pick.projected, pick.projections)
    },
}


def read_table(
    run: Store,
    name: str,
    fields: pa.Schema,
    columns: Sequence[str] | None = None,
    layers: Collection[str] | None = None,
) -> pa.Table:
    """A table of a run, or only some columns of it.

    Args:
        run: where it is.
        name: of the object.
        fields: what it has according to the contract; it may have more.
        columns: by name; entries of lists as in ``winners.list.element.activation``.
        layers: only rows of these, where it has a layer; little more is read.

    Raises:
        FileNotFoundError: there is no such object.
        IncompleteError: it is damaged, or made by another version.
    """
    with intact(run, name):
        table = run.read_table(name, columns) if layers is None else _of(run, name, columns, layers)
        _require(table.schema, fields, fields.names if columns is None else columns)
        return table


def _of(run: Store, name: str, columns: Sequence[str] | None, layers: Collection[str]) -> pa.Table:
    """The rows of some layers, of a table whose rows of one layer lie together."""
    with run.open(name, block=0) as stream:
        file = pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=True)
        place = file.schema_arrow.names.index("layer")  # there are no lists before it
        ranges = [
            file.metadata.row_group(group).column(place).statistics
            for group in range(file.num_row_groups)
        ]
        groups = [
            group
            for group, values in enumerate(ranges)
            if values is None or any(values.min <= layer <= values.max for layer in layers)
        ]
        wanted = None if columns is None else [*dict.fromkeys(["layer", *columns])]
        table = file.read_row_groups(groups, wanted, use_threads=run.is_local)
        table = table.filter(pc.is_in(table["layer"], pa.array(layers, pa.string())))
        return table if columns is None or "layer" in columns else table.drop_columns("layer")


def read_rows(
    run: Store, name: str, fields: pa.Schema, columns: Sequence[str] | None, rows: pc.Expression
) -> pa.Table:
    """The same, but only the rows for which something holds; little more than these is read.

    Raises:
        FileNotFoundError: there is no such object.
        IncompleteError: it is damaged, or made by another version.
    """
    with intact(run, name), run.open(name, block=0) as stream:
        how = {"page_checksum_verification": True, "pre_buffer": True, "use_threads": run.is_local}
        table = pq.read_table(stream, columns=columns, filters=rows, **how)
        _require(table.schema, fields, fields.names if columns is None else columns)
        return table


def read_first_group(run: Store, name: str, fields: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """The same, but only rows that lie together with the first one; little more is read.

    Raises:
        FileNotFoundError: there is no such object.
        IncompleteError: it is damaged, or made by another version.
    """
    with intact(run, name), run.open(name, block=0) as stream:
        file = pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=True)
        table = file.read_row_group(0, columns, use_threads=run.is_local)
        _require(table.schema, fields, columns)
        return table


def samples_in_part(run: Store, name: str) -> int:
    """How many samples a part has, from the end of a file that stage 1 stored of it.

    Raises:
        FileNotFoundError: there is no such object.
        IncompleteError: it is damaged.
    """
    with intact(run, name), run.open(name, block=0) as stream:
        return int(pq.read_schema(stream).metadata[schema.SAMPLES_IN_PART])


@contextmanager
def intact(run: Store, name: str) -> Iterator[None]:
    """Say in one sentence that what a block reads is damaged, and how to get it anew.

    What the store fails with is raised as it is, since another try may succeed.

    Raises:
        IncompleteError: it is damaged.
    """
    try:
        yield
    except (pa.ArrowException, LookupError, TypeError, ValueError, OSError) as error:
        # pyarrow says of some damage that it is an OSError, but one without a number
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise IncompleteError(
            f"{run.url}/{name} is damaged, or of another version ({why[:_LONGEST]}); "
            f"{_remedy(run, name)}."
        ) from error


def gone(run: Store, name: str) -> IncompleteError:
    """What to say of an object that must be there and is not."""
    return IncompleteError(f"{run.url}/{name} is gone; {_remedy(run, name)}.")


_LONGEST = 200
"""Characters of what is said about damage; some of it lists a whole file."""


def _require(found: pa.Schema, fields: pa.Schema, columns: Sequence[str]) -> None:
    for column in columns:
        name = column.partition(".")[0]
        if name not in found.names:
            raise ValueError(f"it has no column {name}")
        kind, right = found.field(name).type, fields.field(name).type
        if name == column and kind != right:
            raise ValueError(f"its column {name} is {kind}, not {right}")


def _remedy(run: Store, name: str) -> str:
    return _REMEDIES[name.partition("/")[0]].format(run=run.url)
