"""What is merged, and how it is read: first the numbers that rank, then the rest of the winners."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import RunSpec
from pipeline.core.heaps.certificate import Flags
from pipeline.data.store import Store
from pipeline.data.stored import part_columns
from pipeline.data.stored.heaps import read_parts, read_winners_of_parts
from pipeline.stages.heap_files import remarks_of
from pipeline.stages.merging.ranking import RANKING, STATISTICS, Entries, Ranking, Statistics

_OF_ROWS = (part_columns.HEAP_ENTRY, part_columns.SAMPLE)
"""What a heap file says of a winner, and of its sample."""


@dataclass(frozen=True)
class Sources:
    """What is merged, in the order of the dataset.

    Attributes:
        spec: what the run is.
        parts: their names.
        looked_at: files of exact heaps of a run in reduced precision; of others None.
        has_projections: whether winners were projected before the dataset grew.
        kept: the lot below which an image is one to choose examples from.
    """

    spec: RunSpec
    parts: tuple[str, ...]
    looked_at: tuple[str, ...] | None
    has_projections: bool
    kept: float

    @property
    def looked_at_statistics(self) -> list[str]:
        """The files that go with those of exact heaps."""
        return [schema.statistics_of_look(name) for name in self.looked_at or ()]

    @property
    def of_parts(self) -> list[str]:
        """The files with the statistics of each part, and, if it was mined exactly, its heaps."""
        name_of = schema.heap_name if self.looked_at is None else schema.screen_name
        return [name_of(part) for part in self.parts]


@dataclass(frozen=True)
class Share:
    """Layers that are merged together.

    Attributes:
        layers: of the net, one after the other.
        certified: whether each of their maps is; None where all are.
        condensed: files in place of those of the parts, with the heaps of many in each.
    """

    layers: tuple[str, ...]
    certified: Flags | None = None
    condensed: tuple[str, ...] | None = None

    def statistics(self, sources: Sources) -> list[str]:
        """The files with statistics that go with these."""
        if self.condensed is None:
            return [schema.statistics_name(part) for part in sources.parts]
        return [schema.condensed_statistics(name) for name in self.condensed]


@dataclass(frozen=True)
class Gathered:
    """The numbers of files.

    Attributes:
        statistics: of all samples.
        ranking: of the winners, if they were asked for.
        remarks: on the data, each once.
        samples: how many there are.
    """

    statistics: Statistics
    ranking: Ranking
    remarks: tuple[str, ...]
    samples: int


def gathered(
    run: Store, files: Sequence[str], layers: Collection[str], top_k: int, with_winners: bool
) -> Gathered:
    """The numbers of some layers in files, in the order of the dataset.

    Raises:
        IncompleteError: a file cannot be read.
    """
    statistics, ranking, samples = Statistics(), Ranking(top_k), 0
    remarks: dict[str, None] = {}
    columns = STATISTICS + (RANKING if with_winners else [])
    for number, table in enumerate(read_parts(run, files, columns, layers)):
        statistics.add(table)
        remarks |= dict.fromkeys(remarks_of(table))
        if with_winners:
            ranking.add(table, number, samples)
        samples += int(table.schema.metadata[schema.SAMPLES_IN_PART])
    return Gathered(statistics, ranking, tuple(remarks), samples)


def rows_of(run: Store, files: Sequence[str], layers: Collection[str], best: Entries) -> pa.Table:
    """All that the files say of these entries, in their order, with their positions in all files.

    Raises:
        IncompleteError: a file cannot be read.
    """
    used = np.unique(best.file)
    tables, order = [_joined(*(pa.schema(list(kind)).empty_table() for kind in _OF_ROWS))], []
    read = read_winners_of_parts(run, [files[number] for number in used], layers)
    for number, (winners, samples) in zip(used, read, strict=True):
        here = np.flatnonzero(best.file == number)
        tables.append(_joined(winners.take(best.place[here]), samples))
        order.append(here)
    rows = pa.concat_tables(tables).combine_chunks()
    rows = rows.take(np.argsort(np.concatenate([np.empty(0, np.int64), *order])))
    return rows.append_column("sample", pa.array(best.sample))


def _joined(winners: pa.Table, samples: pa.Table) -> pa.Table:
    """Winners of one file with all that is known of their samples, but for its position."""
    positions = samples["sample"].to_numpy()
    known = samples.drop_columns("sample").take(
        np.searchsorted(positions, winners["sample"].to_numpy())
    )
    for name in known.column_names:
        winners = winners.append_column(name, known[name])
    return winners.drop_columns("sample")
