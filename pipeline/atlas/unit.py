"""What publishing does in tasks: the sheets of some feature maps, and their part of an overview."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
from PIL import Image

from pipeline import schema
from pipeline.atlas import drawn, manifest, sheets
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block
from pipeline.data.stored.results import projection_blocks, read_winners
from pipeline.data.stored.tables import read_rows

RANKS = 9
"""How many winners of a map a sheet shows at most, as in Zeiler and Fergus' figures."""

_READERS = 4
"""Files read at a time: a bucket answers each of them slowly, and all of them together fast."""

_DRAWN = [*drawn.IDENTITY, "projection", "patch"]

_Thumbnails = tuple[Image.Image | None, Image.Image | None]
"""Of a feature map's strongest projection and its patch; none of a dead one."""


@dataclass(frozen=True)
class Unit:
    """The feature maps of a page of a layer's overview, from `first` up to, but not, `last`."""

    layer: str
    first: int
    last: int

    @property
    def page(self) -> int:
        """The number of the page."""
        return self.first // sheets.OVERVIEW_CELLS

    @property
    def maps(self) -> range:
        """The feature maps."""
        return range(self.first, self.last)


def publish_unit(run: Store, dest: Store, unit: Unit) -> int:
    """Make those of the unit's sheets that are not drawn yet, and its pictures of the overview.

    Returns:
        How many sheets were written; a dead map has none.
    """
    blocks = projection_blocks(run, unit.layer)
    layout = layout_of(run, unit.layer, blocks)
    method = drawn.method(run, layout)
    record = manifest.record_name(unit.layer, unit.page)
    before = drawn.read_record(dest, record)
    there = dest.list(manifest.layer_folder(unit.layer)) if before else {}
    if before:
        rows = _rows(run, unit, blocks, layout.cells, drawn.IDENTITY)
        now = drawn.signatures(rows, unit.layer, method)
        if now == before and there.keys() >= {*now, *_overviews(unit)}:
            return 0
        dest.remove(record)
    rows = _rows(run, unit, blocks, layout.cells, _DRAWN)
    now = drawn.signatures(rows, unit.layer, method)
    changed = {name for name in now if now[name] != before.get(name) or name not in there}
    thumbnails = []
    for feature_map, of_map in zip(unit.maps, _by_map(rows, unit), strict=True):
        name = manifest.sheet_name(unit.layer, feature_map)
        if name in changed:
            dest.write(name, sheets.encode(sheets.sheet(of_map.to_pandas(), layout)))
        thumbnails.append(_thumbnails(of_map, layout))
    for name, pictures in zip(_overviews(unit), zip(*thumbnails, strict=True), strict=True):
        dest.write(name, sheets.encode(sheets.overview(pictures)))
    dest.write(record, json.dumps(now).encode())
    return len(changed)


def layout_of(run: Store, layer: str, blocks: Iterable[Block]) -> sheets.Layout:
    """How a layer's sheets are arranged.

    It follows from the whole layer, so that all its units agree.
    """
    cells = max([1, *(block.ranks for block in blocks)])
    boxes = read_winners(run, layer, list(schema.SIDES)).to_pandas()
    return sheets.Layout.of(min(cells, RANKS), sheets.longest_side(boxes))


def _overviews(unit: Unit) -> list[str]:
    return [manifest.overview_name(unit.layer, kind, unit.page) for kind in manifest.KINDS]


def _rows(
    run: Store, unit: Unit, blocks: Iterable[Block], ranks: int, columns: list[str]
) -> pa.Table:
    """The unit's projections up to that rank, ordered by map and rank."""
    wanted = Block(unit.layer, unit.first, unit.last, ranks)

    def read(block: Block) -> pa.Table:
        return read_rows(run, block.name, schema.PROJECTION, columns, wanted.rows)

    here = [block for block in blocks if block.first < unit.last and unit.first < block.last]
    with ThreadPoolExecutor(_READERS) as pool:
        tables = pool.map(read, sorted(here, key=lambda block: block.first))
        return pa.concat_tables([schema.PROJECTION.empty_table().select(columns), *tables])


def _by_map(rows: pa.Table, unit: Unit) -> Iterator[pa.Table]:
    """The rows of each feature map, none of a dead one."""
    numbers = rows["feature_map"].to_numpy()
    for feature_map in unit.maps:
        start, end = numbers.searchsorted([feature_map, feature_map + 1])
        yield rows.slice(start, end - start)


def _thumbnails(rows: pa.Table, layout: sheets.Layout) -> _Thumbnails:
    """The strongest projection of a feature map's rows, and its patch."""
    if not rows.num_rows:
        return None, None
    scale = layout.scale * sheets.THUMBNAIL / layout.cell
    first = rows.slice(0, 1).to_pylist()[0]
    projection, patch = (
        sheets.cell(first[kind], sheets.THUMBNAIL, scale) for kind in ("projection", "patch")
    )
    return projection, patch
