"""What stage 1 stored of parts, read back in the order of the dataset, a few files ahead."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from pipeline import schema
from pipeline.data.store import Store
from pipeline.data.stored import part_columns
from pipeline.data.stored.tables import gone, intact, read_first_group, read_table

_AHEAD = 8

T = TypeVar("T")


def read_parts(
    run: Store,
    names: Sequence[str],
    columns: Sequence[str] | None = None,
    layers: Collection[str] | None = None,
) -> Iterator[pa.Table]:
    """The tables of parts.

    Args:
        run: where they are.
        names: of the objects.
        columns: only these.
        layers: only rows of these; little more is read.

    Raises:
        IncompleteError: one of them is damaged or gone.
    """

    def read(name: str) -> pa.Table:
        is_screen = name.startswith(f"{schema.SCREEN}/")
        fields = part_columns.SCREEN_HEAP if is_screen else part_columns.RESCORED_HEAP
        table = read_table(run, name, fields, columns or part_columns.HEAP.names, layers)
        with intact(run, name):
            int(table.schema.metadata[schema.SAMPLES_IN_PART])
        return table

    return _ahead(run, names, read)


def read_winners_of_parts(
    run: Store, names: Sequence[str], layers: Collection[str]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The winners of parts in some layers, by feature map and rank, and the parts' samples.

    Args:
        run: where they are.
        names: of heap files.
        layers: whose winners.

    Raises:
        IncompleteError: one of them is damaged or gone.
    """

    def read(name: str) -> tuple[pa.Table, pa.Table]:
        winners = read_table(run, name, part_columns.HEAP, ["winners"], layers)["winners"]
        samples = read_first_group(run, name, part_columns.HEAP, ["samples"])["samples"]
        return _entries(winners), _entries(samples)

    return _ahead(run, names, read)


def read_statistics(
    run: Store, names: Sequence[str], layers: Collection[str]
) -> Iterator[tuple[pa.Table, pa.Table, pa.Table]]:
    """The statistics of parts in some layers, the parts' classes, and the samples they keep whole.

    Args:
        run: where they are.
        names: of statistics' files.
        layers: whose maps.

    Raises:
        IncompleteError: one of them is damaged or gone.
    """
    in_first = ["classes", "kept_samples"]
    of_map = [name for name in part_columns.STATISTIC.names if name not in in_first]

    def read(name: str) -> tuple[pa.Table, pa.Table, pa.Table]:
        table = read_table(run, name, part_columns.STATISTIC, of_map, layers)
        first = read_first_group(run, name, part_columns.STATISTIC, in_first)
        with intact(run, name):
            int(table.schema.metadata[schema.SAMPLES_IN_PART])
        return table, _entries(first["classes"]), _entries(first["kept_samples"])

    return _ahead(run, names, read)


def _entries(lists: pa.ChunkedArray) -> pa.Table:
    return pa.Table.from_struct_array(lists.combine_chunks().flatten())


def _ahead(run: Store, names: Sequence[str], read: Callable[[str], T]) -> Iterator[T]:
    def checked(name: str) -> T:
        try:
            return read(name)
        except FileNotFoundError as error:
            raise gone(run, name) from error

    with ThreadPoolExecutor(_AHEAD) as pool:
        for first in range(0, len(names), _AHEAD):
            yield from pool.map(checked, names[first : first + _AHEAD])
