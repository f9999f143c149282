"""Heaps of many parts in one file, which is that of a larger part: so merging is shared out.

With more parts than one worker should read, each range of them is condensed by itself, and what
comes of the ranges is merged.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.data.store import Store
from pipeline.data.stored import part_columns
from pipeline.stages.heap_files import in_first_row, lists_of
from pipeline.stages.merging.known import Known
from pipeline.stages.merging.sources import Share, Sources, gathered, rows_of

_PARTS = 1024
"""In a range: some seconds of work for AlexNet's maps, half a minute for ResNet-50's."""

_FEWEST = 4 * _PARTS
"""Below that many parts, reading them all takes no longer than what comes of condensing."""


@dataclass(frozen=True)
class Range:
    """Parts that follow one another, of which some layers are condensed into a file.

    Attributes:
        layers: of a share.
        first, last: the numbers of the first part, and of the one behind the last.
        file: that comes of it.
    """

    layers: tuple[str, ...]
    first: int
    last: int
    file: str


def ranges_of(sources: Sources, shares: Sequence[Share], attempt: str) -> list[Range]:
    """What is to be condensed; nothing where there are few parts, or no heaps of them.

    Args:
        sources: what is merged.
        shares: of the layers.
        attempt: in whose folder the files are to lie: another one at the same time has its own.
    """
    count = len(sources.parts)
    if count < _FEWEST or sources.looked_at is not None:
        return []
    return [
        Range(
            share.layers,
            first,
            min(first + _PARTS, count),
            schema.condensed_name(attempt, number, first // _PARTS),
        )
        for number, share in enumerate(shares)
        for first in range(0, count, _PARTS)
    ]


def condensed(shares: Sequence[Share], ranges: Sequence[Range]) -> Iterator[Share]:
    """The shares, to be read from what was condensed."""
    for share in shares:
        files = tuple(each.file for each in ranges if each.layers == share.layers)
        yield replace(share, condensed=files or None)


def condense(run: Store, sources: Sources, part: Range) -> None:
    """Store the heaps of a range of parts as those of one part.

    Raises:
        IncompleteError: a heap file cannot be read.
        WriteError: the result could not be stored.
    """
    files, top_k = sources.of_parts[part.first : part.last], sources.spec.top_k
    found = gathered(run, files, part.layers, top_k, with_winners=True)
    columns, best = found.statistics.columns(), found.ranking.best()
    maps = len(columns["feature_map"])
    rows = rows_of(run, files, part.layers, best)
    _, first = np.unique(best.sample, return_index=True)
    samples = _entries(rows.take(first), part_columns.SAMPLE)
    columns["winners"] = lists_of(
        _entries(rows, part_columns.HEAP_ENTRY), np.bincount(best.owner, minlength=maps)
    )
    columns["samples"] = in_first_row(samples, maps)
    facts = {schema.SAMPLES_IN_PART: str(found.samples), schema.REMARKS: json.dumps(found.remarks)}
    kept = [
        schema.statistics_name(part_name) for part_name in sources.parts[part.first : part.last]
    ]
    statistics = Known(run, kept, part.layers, sources.kept).table()
    run.write_table(schema.condensed_statistics(part.file), statistics, by="layer")
    table = schema.table_of(columns, part_columns.HEAP).replace_schema_metadata(facts)
    run.write_table(part.file, table, by="layer")


def _entries(rows: pa.Table, entry: pa.StructType) -> pa.StructArray:
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    return schema.entries_of(columns, entry)
