"""Stage 1 in reduced precision: what the screening of all parts found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.core.certificate import kept
from pipeline.data.store import Store
from pipeline.stages.heap_files import read_tables

_HELD = 4
"""How many times what a part keeps is held of all parts together."""

_PARTS_AT_ONCE = 8


@dataclass(frozen=True)
class Candidates:
    """The largest screened values of M feature maps over all parts, D of each.

    Attributes:
        values: (M, D) in descending order, -inf where there are fewer images.
        part: (M, D) number of the part that the image is in.
        position: (M, D) of its sample in the part.
        outside: (M,) images that are not held.
        below: (M,) what none of theirs exceeds.
    """

    values: NDArray[np.float32]
    part: NDArray[np.int32]
    position: NDArray[np.int64]
    outside: NDArray[np.int64]
    below: NDArray[np.float32]


def gather(run: Store, parts: Sequence[str], top_k: int) -> Candidates:
    """The candidates of a run whose parts are all screened.

    Raises:
        IncompleteError: a file cannot be read.
    """
    held, images = None, 0
    files = read_tables(run, [schema.screen_name(part) for part in parts], ["images", "kept"])
    numbered = enumerate(files)
    while some := [one for _, one in zip(range(_PARTS_AT_ONCE), numbered, strict=False)]:
        images += sum(table["images"][0].as_py() for _, table in some)
        new = [_candidates(number, table, kept(top_k)) for number, table in some]
        held = _largest([*([held] if held else []), *new], _HELD * kept(top_k))
    assert held is not None
    return Candidates(
        held.values,
        held.part,
        held.position,
        images - (held.values > -np.inf).sum(1),
        held.below,
    )


def _candidates(number: int, table: pa.Table, most: int) -> Candidates:
    """What one part keeps, as rectangles."""
    lists = table["kept"].combine_chunks()
    bounds = lists.offsets.to_numpy()
    lengths = np.diff(bounds)
    taken = np.arange(most) < lengths[:, None]
    shape = taken.shape
    values, position = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int64)
    entries = lists.flatten()
    values[taken] = entries.field("value").to_numpy()
    position[taken] = entries.field("sample").to_numpy()
    outside = table["images"].to_numpy() - lengths
    below = np.where(outside > 0, values[:, -1], -np.inf).astype(np.float32)
    return Candidates(values, np.full(shape, number, np.int32), position, outside, below)


def _largest(some: Sequence[Candidates], most: int) -> Candidates:
    """The largest of several parts together, equal values in the order of the dataset."""
    values = np.concatenate([one.values for one in some], 1)
    order = np.argsort(-values, axis=1, kind="stable")
    first, rest = order[:, :most], order[:, most:]
    dropped = np.take_along_axis(values, rest[:, :1], 1).max(1, initial=-np.inf)
    return Candidates(
        np.take_along_axis(values, first, 1),
        np.take_along_axis(np.concatenate([one.part for one in some], 1), first, 1),
        np.take_along_axis(np.concatenate([one.position for one in some], 1), first, 1),
        np.sum([one.outside for one in some], axis=0),
        np.max([dropped, *(one.below for one in some)], axis=0),
    )


def by_part(numbers: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each number that occurs, in rising order, and where."""
    order = np.argsort(numbers, kind="stable")
    distinct, starts = np.unique(numbers[order], return_index=True)
    yield from zip(distinct.tolist(), np.split(order, starts[1:]), strict=True)
