"""Between the stages: the heaps of all parts become the winners and the feature maps' table.

Layers are merged in shares, anywhere and in any order. First only the numbers that rank are read,
of all files; then the rest, of the entries that are winners.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.heaps.certificate import Flags
from pipeline.data.store import Store
from pipeline.data.stored.heaps import read_parts, read_winners_of_parts
from pipeline.data.stored.results import read_skipped
from pipeline.errors import RequestError
from pipeline.stages.carry import carry_blocks, carry_projected
from pipeline.stages.heap_files import remarks_of
from pipeline.stages.ranking import RANKING, STATISTICS, Entries, Ranking, Statistics, ranks
from pipeline.stages.rescore import Looks

_WINNERS_IN_SHARE = 2**16
"""Of a share of several layers, at most: what one worker holds, and the more there are to share."""


_OF_ROWS = (schema.HEAP_ENTRY, schema.SAMPLE)
"""What a heap file says of a winner, and of its sample."""


@dataclass(frozen=True)
class Sources:
    """What is merged, in the order of the dataset.

    Attributes:
        spec: what the run is.
        parts: their names.
        looked_at: files of exact heaps of a run in reduced precision; of others None.
        has_projections: whether winners were projected before the dataset grew.
    """

    spec: RunSpec
    parts: tuple[str, ...]
    looked_at: tuple[str, ...] | None
    has_projections: bool

    @property
    def of_parts(self) -> list[str]:
        """The files with the statistics of each part, and, if it was mined exactly, its heaps."""
        name_of = schema.heap_name if self.looked_at is None else schema.screen_name
        return [name_of(part) for part in self.parts]


@dataclass(frozen=True)
class Share:
    """Layers that are merged together, and whether each of their maps is certified."""

    layers: tuple[str, ...]
    certified: Flags | None


@dataclass(frozen=True)
class Merged:
    """What came of a share: rows of the feature maps' table, and remarks on the parts' data."""

    layers: tuple[str, ...]
    feature_maps: pa.Table
    remarks: tuple[str, ...]


Do = Callable[[Sources, Sequence[Share]], Iterable[Merged]]


def merge(
    run: Store,
    spec: RunSpec,
    parts: Sequence[str],
    looks: Looks | None = None,
    do: Do | None = None,
) -> list[str]:
    """Merge the heaps of these parts, given in the order of the dataset.

    A sample's position in the dataset is its position in its part plus the samples of all parts
    before; ranks follow from it and the activation alone, so they do not depend on how the
    dataset was cut up, nor on who mined what.

    Args:
        run: whose parts are all mined.
        spec: what the run is.
        parts: their names.
        looks: of a run in reduced precision, at its images exactly: the winners come from there,
            the statistics over all images from the screening.
        do: merges shares, in any order; without it they are merged here.

    Returns:
        What there is to say of the parts' data, each line once.

    Raises:
        RequestError: no image of the dataset could be used.
        IncompleteError: a heap file cannot be read.
        WriteError: a result could not be stored.
    """
    looked_at = tuple(unit.file for unit in looks.units) if looks is not None else None
    sources = Sources(spec, tuple(parts), looked_at, bool(run.list(schema.PROJECTIONS)))
    shares = _shares(spec, looks.certified if looks is not None else None)
    done = {merged.layers: merged for merged in (do or partial(_here, run))(sources, shares)}
    feature_maps = pa.concat_tables([done[share.layers].feature_maps for share in shares])
    if pc.max(feature_maps["images"]).as_py() == 0:
        raise RequestError(_nothing_usable(run, spec))
    _leave_readable(run, parts)
    carry_projected(run, {layer.name for layer in spec.layers})
    run.write_table(schema.FEATURE_MAPS, feature_maps.combine_chunks())
    return list(dict.fromkeys(line for merged in done.values() for line in merged.remarks))


def _here(run: Store, sources: Sources, shares: Sequence[Share]) -> Iterator[Merged]:
    return (merge_share(run, sources, share) for share in shares)


def _shares(spec: RunSpec, certified: Flags | None) -> list[Share]:
    """Layers that follow one another, in shares of about the same number of winners."""
    shares: list[list[LayerSpec]] = [[]]
    for layer in spec.layers:
        maps = sum(other.maps for other in shares[-1]) + layer.maps
        if shares[-1] and maps * spec.top_k > _WINNERS_IN_SHARE:
            shares.append([])
        shares[-1].append(layer)
    ends = np.cumsum([sum(layer.maps for layer in share) for share in shares])[:-1]
    flags = [None] * len(shares) if certified is None else np.split(certified, ends)
    return [
        Share(tuple(layer.name for layer in share), own)
        for share, own in zip(shares, flags, strict=True)
    ]


def merge_share(run: Store, sources: Sources, share: Share) -> Merged:
    """Merge some layers, and store their winners.

    Raises:
        IncompleteError: a heap file cannot be read.
        WriteError: a result could not be stored.
    """
    spec, of_parts, looked_at = sources.spec, sources.of_parts, sources.looked_at
    exact = looked_at is None
    statistics, ranking = Statistics(), Ranking(spec.top_k)
    remarks: dict[str, None] = {}
    starts = [0]
    columns = STATISTICS + (RANKING if exact else [])
    for number, table in enumerate(read_parts(run, of_parts, columns, share.layers)):
        statistics.add(table)
        remarks |= dict.fromkeys(remarks_of(table))
        if exact:
            ranking.add(table, number, starts[-1])
        starts.append(starts[-1] + int(table.schema.metadata[schema.SAMPLES_IN_PART]))
    for number, table in enumerate(read_parts(run, looked_at or (), RANKING, share.layers)):
        ranking.add(table, number)
    feature_maps, best = statistics.table(), ranking.best()
    if share.certified is not None:
        feature_maps = _certified(feature_maps, best, share.certified)
    if pc.max(feature_maps["images"]).as_py():
        files = of_parts if looked_at is None else looked_at
        rows = _rows(run, files, share, best, feature_maps)
        for layer in (layer for layer in spec.layers if layer.name in share.layers):
            of_layer = rows.filter(pc.equal(rows["layer"], layer.name))
            winners = _with_boxes(of_layer, layer, spec)
            run.write_table(schema.winners_name(layer.name), winners)
            if sources.has_projections:
                carry_blocks(run, layer.name, layer.maps, winners)
    return Merged(share.layers, feature_maps, tuple(remarks))


def _certified(feature_maps: pa.Table, best: Entries, certified: Flags) -> pa.Table:
    """The statistics of a screening, put right where the winners tell what is exact."""
    largest = feature_maps["max"].to_numpy().clip(max=0)  # of maps without a winner
    first = ranks(best.owner) == 1
    largest[best.owner[first]] = best.activation[first]
    columns = {name: feature_maps[name].combine_chunks() for name in feature_maps.column_names}
    active = np.where(largest > 0, feature_maps["active"].to_numpy().clip(min=1), 0)
    columns |= {"max": largest, "active": active, "certified": certified}
    return schema.table_of(columns, schema.FEATURE_MAP)


def _rows(
    run: Store, files: Sequence[str], share: Share, best: Entries, feature_maps: pa.Table
) -> pa.Table:
    """All that the files say of these entries, in their order."""
    used = np.unique(best.file)
    tables, order = [_joined(*(pa.schema(list(kind)).empty_table() for kind in _OF_ROWS))], []
    names = [files[number] for number in used]
    read = read_winners_of_parts(run, names, share.layers)
    for number, (winners, samples) in zip(used, read, strict=True):
        here = np.flatnonzero(best.file == number)
        tables.append(_joined(winners.take(best.place[here]), samples))
        order.append(here)
    rows = pa.concat_tables(tables).combine_chunks()
    rows = rows.take(np.argsort(np.concatenate([np.empty(0, np.int64), *order])))
    owners = pa.array(best.owner)
    return (
        rows.append_column("sample", pa.array(best.sample))
        .append_column("layer", feature_maps["layer"].take(owners))
        .append_column("feature_map", feature_maps["feature_map"].take(owners))
        .append_column("rank", pa.array(ranks(best.owner)))
    )  # fmt: skip


def _joined(winners: pa.Table, samples: pa.Table) -> pa.Table:
    """Winners of one file with all that is known of their samples, but for its position."""
    positions = samples["sample"].to_numpy()
    known = samples.drop_columns("sample").take(
        np.searchsorted(positions, winners["sample"].to_numpy())
    )
    for name in known.column_names:
        winners = winners.append_column(name, known[name])
    return winners.drop_columns("sample")


def _with_boxes(rows: pa.Table, layer: LayerSpec, spec: RunSpec) -> pa.Table:
    """The winners of one layer as they are stored."""
    y, x = (rows[axis].to_numpy() for axis in ("y", "x"))
    height, width = (rows[side].to_numpy() for side in ("height", "width"))
    boxes = layer.receptive_field.boxes(y, x, spec.preprocessing.input_size)
    source = spec.preprocessing.source_boxes(boxes, height, width)
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    for i, side in enumerate(schema.SIDES):
        columns |= {side: boxes[:, i], f"source_{side}": source[:, i]}
    return schema.table_of(columns, schema.WINNER)


def _leave_readable(run: Store, parts: Sequence[str]) -> None:
    """Where no sample was skipped, a table without rows: pandas reads no empty folder."""
    if not run.list(schema.SKIPPED):
        run.write_table(schema.skipped_name(parts[0]), schema.SKIPPED_SAMPLE.empty_table())


def _nothing_usable(run: Store, spec: RunSpec) -> str:
    reasons = read_skipped(run)["reason"]
    why = f", the first one because: {reasons[0]}" if len(reasons) else ""
    return f"No image of {spec.data} could be used{why}; {run.url}/skipped lists them all."
