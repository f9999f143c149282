"""Between the stages: the heaps of all parts become the winners and the feature maps' table.

Layers are merged in shares, anywhere and in any order. First only the numbers that rank are read,
of all files; then the rest, of the entries that are winners.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.heaps.certificate import Flags
from pipeline.data.store import Store
from pipeline.data.stored.heaps import read_parts
from pipeline.data.stored.results import read_skipped
from pipeline.errors import RequestError
from pipeline.stages.merging.carry import carry_blocks, carry_projected
from pipeline.stages.merging.condense import Range, condense, condensed, ranges_of
from pipeline.stages.merging.known import Known
from pipeline.stages.merging.ranking import RANKING, Entries, ranks
from pipeline.stages.merging.sources import Share, Sources, gathered, rows_of
from pipeline.stages.merging.summary import Summary, with_ancestors
from pipeline.stages.rescore import Looks

_WINNERS_IN_SHARE = 2**16
"""Of a share of several layers, at most: what one worker holds, and the more there are to share."""

_LATEST, _PAUSE = 30.0, 0.5
"""Seconds after which a store shows what was written, at the latest, and from look to look."""


@dataclass(frozen=True)
class Merged:
    """What came of a share: rows of the feature maps' table, and remarks on the parts' data."""

    layers: tuple[str, ...]
    feature_maps: pa.Table
    remarks: tuple[str, ...]


class Workers(Protocol):
    """Who does the work, in any order."""

    def condense(self, sources: Sources, ranges: Sequence[Range]) -> Iterable[None]:
        """Condense ranges; yields something whenever one is done."""

    def merge(self, sources: Sources, shares: Sequence[Share]) -> Iterable[Merged]:
        """Merge shares."""


@dataclass(frozen=True)
class _Here:
    run: Store

    def condense(self, sources: Sources, ranges: Sequence[Range]) -> Iterable[None]:
        for each in ranges:
            condense(self.run, sources, each)
            yield

    def merge(self, sources: Sources, shares: Sequence[Share]) -> Iterable[Merged]:
        return (merge_share(self.run, sources, share) for share in shares)


def merge(
    run: Store,
    spec: RunSpec,
    parts: Sequence[str],
    looks: Looks | None = None,
    workers: Workers | None = None,
    kept: float = 1.0,
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
        workers: who does it; without them it is done here.
        kept: share of the images of which all activations are kept.

    Returns:
        What there is to say of the parts' data, each line once.

    Raises:
        RequestError: no image of the dataset could be used.
        IncompleteError: a heap file cannot be read.
        WriteError: a result could not be stored.
    """
    looked_at = tuple(unit.file for unit in looks.units) if looks is not None else None
    has_projections = any(run.list(pick.projections) for pick in schema.PICKS)
    sources = Sources(spec, tuple(parts), looked_at, has_projections, kept)
    shares = _shares(spec, looks.certified if looks is not None else None)
    done = {each.layers: each for each in _merged(run, sources, shares, workers or _Here(run))}
    feature_maps = pa.concat_tables([done[share.layers].feature_maps for share in shares])
    if pc.max(feature_maps["images"]).as_py() == 0:
        raise RequestError(_nothing_usable(run, spec))
    _leave_readable(run, parts)
    for pick in schema.PICKS:
        carry_projected(run, {layer.name for layer in spec.layers}, pick)
    run.write_table(schema.FEATURE_MAPS, feature_maps.combine_chunks())
    _remove_below(run, schema.MERGING)  # of attempts that were killed
    winners = {schema.winners_name(layer.name) for layer in spec.layers}
    _await(lambda: run.exists(schema.FEATURE_MAPS) and run.list(schema.WINNERS).keys() >= winners)
    return list(dict.fromkeys(line for merged in done.values() for line in merged.remarks))


def _merged(
    run: Store, sources: Sources, shares: Sequence[Share], workers: Workers
) -> list[Merged]:
    """What comes of the shares; what is condensed on the way does not stay."""
    attempt = uuid.uuid4().hex
    ranges = ranges_of(sources, shares, attempt)
    try:
        if ranges:
            list(workers.condense(sources, ranges))
            _await(lambda: run.list(schema.MERGING).keys() >= {each.file for each in ranges})
        return list(workers.merge(sources, list(condensed(shares, ranges))))
    finally:
        if ranges:
            _remove_below(run, f"{schema.MERGING}/{attempt}")


def _await(is_seen: Callable[[], bool]) -> None:
    """Wait for a store that shows late what was written: it is read next."""
    end = time.monotonic() + _LATEST
    while not is_seen() and time.monotonic() < end:
        time.sleep(_PAUSE)


def _remove_below(run: Store, folder: str) -> None:
    for name in run.list(folder):
        run.remove(name)


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
    spec, looked_at = sources.spec, sources.looked_at
    files = list(share.condensed or sources.of_parts)
    found = gathered(run, files, share.layers, spec.top_k, with_winners=looked_at is None)
    for number, table in enumerate(read_parts(run, looked_at or (), RANKING, share.layers)):
        found.ranking.add(table, number)
    known = Known(
        run, share.statistics(sources), share.layers, sources.kept, sources.looked_at_statistics
    )
    summary = Summary(known, found.statistics.images)
    feature_maps, best = found.statistics.table(summary.columns()), found.ranking.best()
    if share.certified is not None:
        feature_maps = _certified(feature_maps, best, share.certified)
    if pc.max(feature_maps["images"]).as_py():
        rows = _rows(run, looked_at or files, share, best, feature_maps)
        feature_maps = with_ancestors(feature_maps, rows, best.owner)
        for layer in (layer for layer in spec.layers if layer.name in share.layers):
            of_layer = rows.filter(pc.equal(rows["layer"], layer.name))
            winners = _with_boxes(of_layer, layer, spec, schema.WINNER)
            run.write_table(schema.winners_name(layer.name), winners)
            _write_summary(run, summary, layer, sources)
            if sources.has_projections:
                carry_blocks(run, layer.name, layer.maps, winners)
    return Merged(share.layers, feature_maps, found.remarks)


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
    """All that the files say of these entries, whose they are and at which rank."""
    owners = pa.array(best.owner)
    return (
        rows_of(run, files, share.layers, best)
        .append_column("layer", feature_maps["layer"].take(owners))
        .append_column("feature_map", feature_maps["feature_map"].take(owners))
        .append_column("rank", pa.array(ranks(best.owner)))
    )  # fmt: skip


def _write_summary(run: Store, summary: Summary, layer: LayerSpec, sources: Sources) -> None:
    """Store what statistics come to for one layer."""
    run.write_table(
        schema.of_layer(schema.DISTRIBUTIONS, layer.name), summary.distribution(layer.name)
    )
    run.write_table(schema.of_layer(schema.CLASSES, layer.name), summary.classes(layer.name))
    examples = summary.examples(layer.name, sources.spec.examples)
    examples = _with_boxes(examples, layer, sources.spec, schema.EXAMPLE)
    run.write_table(schema.of_layer(schema.EXAMPLES, layer.name), examples)
    if sources.has_projections:
        carry_blocks(run, layer.name, layer.maps, examples, schema.EXEMPLARY)


def _with_boxes(rows: pa.Table, layer: LayerSpec, spec: RunSpec, fields: pa.Schema) -> pa.Table:
    """The winners or examples of one layer as they are stored."""
    y, x = (rows[axis].to_numpy() for axis in ("y", "x"))
    height, width = (rows[side].to_numpy() for side in ("height", "width"))
    boxes = layer.receptive_field.boxes(y, x, spec.preprocessing.input_size)
    source = spec.preprocessing.source_boxes(boxes, height, width)
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    for i, side in enumerate(schema.SIDES):
        columns |= {side: boxes[:, i], f"source_{side}": source[:, i]}
    return schema.table_of(columns, fields)


def _leave_readable(run: Store, parts: Sequence[str]) -> None:
    """Where no sample was skipped, a table without rows: pandas reads no empty folder."""
    if not run.list(schema.SKIPPED):
        run.write_table(schema.skipped_name(parts[0]), schema.SKIPPED_SAMPLE.empty_table())


def _nothing_usable(run: Store, spec: RunSpec) -> str:
    reasons = read_skipped(run)["reason"]
    why = f", the first one because: {reasons[0]}" if len(reasons) else ""
    return f"No image of {spec.data} could be used{why}; {run.url}/skipped lists them all."
