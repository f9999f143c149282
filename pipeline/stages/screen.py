"""Stage 1 in reduced precision: what the screening of all parts found."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.core.heaps.certificate import screen_depth
from pipeline.data.store import Store
from pipeline.data.stored.heaps import read_parts

_HELD = 8
"""How many times what a part keeps is held of all parts together."""

_STEPS = 64
"""Into how many steps the images are put, at the most, that are not held."""

_PARTS_AT_ONCE = 8


@dataclass(frozen=True)
class Candidates:
    """The largest screened values of M feature maps over all parts, D of each; the rest in S steps.

    Attributes:
        values: (M, D) in descending order, -inf where there are fewer images.
        sample: (M, D) the image's position in the dataset.
        outside: (M, S) how many images are not held.
        below: (M, S) what no value of a step's exceeds, in descending order.
    """

    values: NDArray[np.float32]
    sample: NDArray[np.int64]
    outside: NDArray[np.int64]
    below: NDArray[np.float32]


def gather(run: Store, parts: Sequence[str], top_k: int) -> tuple[Candidates, NDArray[np.int64]]:
    """The candidates of a run whose parts are all screened, and where each part starts.

    Returns:
        The candidates, and the position in the dataset of each part's first sample, and at last
        the number of samples.

    Raises:
        IncompleteError: a file cannot be read.
    """
    held: list[Candidates] = []
    starts = [0]
    files = read_parts(run, [schema.screen_name(part) for part in parts], ["images", "kept"])
    while tables := list(islice(files, _PARTS_AT_ONCE)):
        for table in tables:
            held.append(_candidates(starts[-1], table, screen_depth(top_k)))
            starts.append(starts[-1] + int(table.schema.metadata[schema.SAMPLES_IN_PART]))
        held = [_largest(held, _HELD * screen_depth(top_k))]
    return held[0], np.array(starts)


def _candidates(start: int, table: pa.Table, most: int) -> Candidates:
    """What one part keeps, as rectangles."""
    lists = table["kept"].combine_chunks()
    lengths = np.diff(lists.offsets.to_numpy())
    taken = np.arange(most) < lengths[:, None]
    values, sample = np.full(taken.shape, -np.inf, np.float32), np.zeros(taken.shape, np.int64)
    entries = lists.flatten()
    values[taken] = entries.field("value").to_numpy()
    sample[taken] = start + entries.field("sample").to_numpy()
    outside = table["images"].to_numpy() - lengths
    below = np.where(outside > 0, values[:, -1], -np.inf).astype(np.float32)
    return Candidates(values, sample, outside[:, None], below[:, None])


def _largest(of_parts: Sequence[Candidates], most: int) -> Candidates:
    """The largest of several parts together, equal values in the order of the dataset."""
    values = np.concatenate([part.values for part in of_parts], 1)
    samples = np.concatenate([part.sample for part in of_parts], 1)
    order = np.argsort(-values, axis=1, kind="stable")
    first = order[:, :most]
    dropped = np.take_along_axis(values, order[:, most:], 1)
    steps = _steps(
        np.concatenate([dropped > -np.inf, *(part.outside for part in of_parts)], 1),
        np.concatenate([dropped, *(part.below for part in of_parts)], 1),
    )
    return Candidates(
        np.take_along_axis(values, first, 1), np.take_along_axis(samples, first, 1), *steps
    )


def _steps(
    outside: NDArray[np.int64], below: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Fewer steps for the same images: the finest at the top, where the risk is."""
    order = np.argsort(-below, axis=1, kind="stable")
    starts = np.unique(np.geomspace(1, order.shape[1], _STEPS).astype(np.int64)) - 1
    counts = np.add.reduceat(np.take_along_axis(outside, order, 1), starts, axis=1)
    return counts, np.take_along_axis(below, order[:, starts], 1)
