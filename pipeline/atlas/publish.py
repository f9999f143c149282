"""The last stage: a run's sheets, overviews and web pages, put where a browser finds them.

First every unit of `units`, in any order and anywhere, by `publish_unit`; then `publish_pages`
once. The index comes last of all, so that a half-published atlas shows nothing. The same run
gives the same bytes, and the same again changes nothing.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipeline import schema
from pipeline.atlas import manifest, sheets
from pipeline.config import LayerSpec, RunSpec
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block
from pipeline.data.stored.results import (
    projection_blocks,
    read_feature_maps,
    read_skipped,
    read_spec,
    read_winners,
)
from pipeline.data.stored.tables import read_rows
from pipeline.errors import IncompleteError, RequestError

RANKS = 9
"""How many winners of a map a sheet shows at most, as in Zeiler and Fergus' figures."""

UNIT_BYTES = 128 * 2**20
"""About what a unit reads, and a small multiple of what it holds in memory."""

_PAGES = ("style.css", "atlas.js", "elements.js", "pages.js", "viewer.js", "index.html")
"""The viewer's files in the order in which they are written: the index is the last."""

_READERS = 4
"""Files read at a time: a bucket answers each of them slowly, and all of them together fast."""

_BOX = list(schema.SIDES)
_DRAWN = ["feature_map", "rank", *_BOX, "projection", "patch"]
_SHOWN = [
    *("feature_map", "rank", "activation", "key", "label", "class_name"),
    *(f"source_{side}" for side in _BOX),
]


_Thumbnails = tuple[Image.Image | None, Image.Image | None]
"""Of a feature map's strongest projection and its patch; none of a dead one."""


@dataclass(frozen=True)
class Unit:
    """The feature maps of `layer` from `first` up to, but not with, `last`."""

    layer: str
    first: int
    last: int


@dataclass(frozen=True)
class Published:
    """What an atlas shows.

    Args:
        layers: with projections, in the net's order.
        maps: of these layers.
        dead: of these, the ones that no image activates.
        missing: of these, the ones that have winners but no projections yet.
        unprojected: the run's other layers.
    """

    layers: tuple[str, ...]
    maps: int
    dead: int
    missing: int
    unprojected: tuple[str, ...]


def units(run: Store) -> list[Unit]:
    """The parts in which the run's sheets are made, each a few hundred feature maps at most.

    A unit is a whole number of overview pictures: as many as fit in memory at a time.

    Raises:
        RequestError: this is no run, or it has no projections yet.
    """
    parts: list[Unit] = []
    statistics = _statistics(run, read_spec(run))
    for layer, blocks in _projected_layers(run, statistics).items():
        maps = len(statistics[layer])
        pages = len(manifest.overview_pages(maps))
        length = sheets.OVERVIEW_CELLS * max(1, UNIT_BYTES * pages // max(1, sum(blocks.values())))
        parts += [Unit(layer, at, min(at + length, maps)) for at in range(0, maps, length)]
    return parts


def publish_unit(run: Store, dest: Store, unit: Unit) -> int:
    """Make the sheets of the unit's feature maps and their part of the layer's overview.

    A page of the overview is written after the sheets that it stands for.

    Returns:
        How many sheets were written; a dead map has none.
    """
    blocks = projection_blocks(run, unit.layer)
    layout = _layout(run, unit.layer, blocks)
    rows = _rows(run, unit, blocks, layout.cells)
    maps_of_rows = rows["feature_map"].to_numpy()
    written = 0
    for first in range(unit.first, unit.last, sheets.OVERVIEW_CELLS):
        thumbnails: list[_Thumbnails] = []
        for feature_map in range(first, min(first + sheets.OVERVIEW_CELLS, unit.last)):
            start, end = maps_of_rows.searchsorted([feature_map, feature_map + 1])
            of_map = rows.slice(start, end - start)
            thumbnails.append(_publish_sheet(dest, unit.layer, of_map, layout))
            written += of_map.num_rows > 0
        for kind, pictures in zip(manifest.KINDS, zip(*thumbnails, strict=True), strict=True):
            name = manifest.overview_name(unit.layer, kind, first // sheets.OVERVIEW_CELLS)
            dest.write(name, sheets.encode(sheets.overview(pictures)))
    return written


def publish_pages(run: Store, dest: Store) -> Published:
    """Write the winners, the viewer, the manifest and, last, the index of the atlas.

    Args:
        run: the run.
        dest: where the atlas is, with the sheets of all `units` in it.

    Raises:
        RequestError: this is no run, or it has no projections yet.
        IncompleteError: a unit has not been published.
    """
    spec = read_spec(run)
    statistics = _statistics(run, spec)
    projected = _projected_layers(run, statistics)
    names = list(projected)
    _check_complete(dest, {name: len(statistics[name]) for name in names})
    classes = manifest.Classes()
    entries, dead, missing = [], 0, 0
    for name in names:
        layer = _layer(run, spec.layer(name), statistics[name], projected[name])
        entries.append(manifest.layer_entry(layer, classes))
        dest.write(manifest.winners_name(name), manifest.winners_script(layer, classes))
        dead, missing = dead + len(layer.dead), missing + len(layer.missing)
    images = max(int(rows["images"].max()) for rows in statistics.values())
    counts = {"images": images, "skipped": len(read_skipped(run))}
    document = manifest.manifest(spec, entries, classes, counts)
    viewer = resources.files("pipeline.atlas") / "viewer"
    dest.write(manifest.NAME, document)
    for page in _PAGES:
        dest.write(page, (viewer / page).read_bytes())
    return Published(
        layers=tuple(names),
        maps=sum(entry["maps"] for entry in entries),
        dead=dead,
        missing=missing,
        unprojected=tuple(name for name in statistics if name not in names),
    )


def _statistics(run: Store, spec: RunSpec) -> dict[str, pd.DataFrame]:
    """The rows of ``feature_maps`` by layer, in the net's order."""
    frame = read_feature_maps(run)
    return {
        layer.name: rows.sort_values("feature_map", ignore_index=True)
        for layer in spec.layers
        if len(rows := frame[frame["layer"] == layer.name])
    }


def _projected_layers(run: Store, layers: Iterable[str]) -> dict[str, dict[Block, int]]:
    """The layers that have projections: their files and how many bytes these have."""
    blocks = {layer: projection_blocks(run, layer) for layer in layers}
    if not any(blocks.values()):
        raise RequestError(
            f"{run.url} has no projections yet: run `deconv-atlas project --run {run.url}` first."
        )
    return {layer: of_layer for layer, of_layer in blocks.items() if of_layer}


def _layer(
    run: Store, spec: LayerSpec, stats: pd.DataFrame, blocks: Iterable[Block]
) -> manifest.Layer:
    winners = read_winners(run, spec.name, _SHOWN)
    shown = winners.filter(pc.field("rank") <= RANKS).to_pandas()
    shown = shown.sort_values(["feature_map", "rank"], ignore_index=True)
    projected = frozenset(number for block in blocks for number in block.maps)
    return manifest.Layer(spec, stats, shown, projected, _layout(run, spec.name, blocks))


def _layout(run: Store, layer: str, blocks: Iterable[Block]) -> sheets.Layout:
    """How the layer's sheets are arranged.

    It follows from the whole layer, so that all its units agree.
    """
    cells = max([1, *(block.ranks for block in blocks)])
    boxes = read_winners(run, layer, _BOX).to_pandas()
    return sheets.Layout.of(min(cells, RANKS), sheets.longest_side(boxes))


def _rows(run: Store, unit: Unit, blocks: Iterable[Block], ranks: int) -> pa.Table:
    """The unit's projections up to that rank, ordered by map and rank."""
    wanted = Block(unit.layer, unit.first, unit.last, ranks)

    def read(block: Block) -> pa.Table:
        return read_rows(run, block.name, schema.PROJECTION, _DRAWN, wanted.rows)

    here = [block for block in blocks if block.first < unit.last and unit.first < block.last]
    with ThreadPoolExecutor(_READERS) as pool:
        tables = pool.map(read, sorted(here, key=lambda block: block.first))
        return pa.concat_tables([schema.PROJECTION.empty_table().select(_DRAWN), *tables])


def _publish_sheet(dest: Store, layer: str, rows: pa.Table, layout: sheets.Layout) -> _Thumbnails:
    """Write the sheet of these rows, if any; returns its strongest projection, and the patch."""
    if not rows.num_rows:
        return None, None
    frame = rows.to_pandas()
    name = manifest.sheet_name(layer, int(frame["feature_map"].iloc[0]))
    dest.write(name, sheets.encode(sheets.sheet(frame, layout)))
    scale = layout.scale * sheets.THUMBNAIL / layout.cell
    projection, patch = frame.iloc[0][["projection", "patch"]]
    return (
        sheets.cell(projection, sheets.THUMBNAIL, scale),
        sheets.cell(patch, sheets.THUMBNAIL, scale),
    )


def _check_complete(dest: Store, maps: Mapping[str, int]) -> None:
    there = dest.list()
    missing = [
        layer
        for layer, count in maps.items()
        for page in manifest.overview_pages(count)
        if manifest.overview_name(layer, "patches", page) not in there
    ]
    if missing:
        raise IncompleteError(
            f"The sheets of {', '.join(dict.fromkeys(missing))} are not all in {dest.url}: "
            "give the same command again."
        )
