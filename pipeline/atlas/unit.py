"""What publishing does in tasks: the pictures of some feature maps."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline import schema
from pipeline.atlas import drawn, sheets
from pipeline.atlas.assets import Assets
from pipeline.atlas.documents.names import drawn_name, layer_folder, picture_name
from pipeline.atlas.drawn import Drawn, Files
from pipeline.atlas.sheets import Kind
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block
from pipeline.data.stored.results import projection_blocks, read_spec, read_winners
from pipeline.data.stored.tables import read_rows

_READERS = 4
"""Files read at a time: a bucket answers each of them slowly, and all of them together fast."""

_KINDS: dict[str, Kind] = {"projections": "projection", "patches": "patch"}


@dataclass(frozen=True)
class Unit:
    """The feature maps of a sprite of a layer, from `first` up to, but not, `last`.

    Attributes:
        layer: its name.
        first: map.
        last: the map behind the last one.
        patches: whether pictures of the dataset may be shown.
        pictures: of which winners (map, rank) the whole picture is to be stored.
        folder: where, as it follows from the dataset.
    """

    layer: str
    first: int
    last: int
    patches: bool = True
    pictures: frozenset[tuple[int, int]] = frozenset()
    folder: str = ""

    @property
    def page(self) -> int:
        """The number of the sprite."""
        return self.first // sheets.SPRITE_CELLS

    @property
    def maps(self) -> range:
        """The feature maps."""
        return range(self.first, self.last)

    @property
    def kinds(self) -> dict[str, Kind]:
        """Those of pictures that are shown, and their column."""
        return _KINDS if self.patches else {"projections": "projection"}


def publish_unit(run: Store, dest: Store, unit: Unit) -> int:
    """Make those of the unit's pictures that are not drawn yet.

    Returns:
        Of how many feature maps; a dead one has none.
    """
    blocks = projection_blocks(run, unit.layer)
    others = projection_blocks(run, unit.layer, schema.EXEMPLARY)
    layout = layout_of(run, unit.layer, blocks)
    _store_pictures(run, dest, unit, blocks)
    method = drawn.method(run, layout, patches=unit.patches)
    row = replace(layout, cells=ranks_of(others), columns=ranks_of(others))  # of examples
    record = drawn_name(unit.layer, unit.page)
    before = drawn.read_drawn(dest, record)
    there = dest.list(layer_folder(unit.layer)) if before.sprites else {}
    if before.sprites:
        rows = _rows(run, unit, blocks, layout.cells, drawn.IDENTITY)
        examples = _rows(run, unit, others, row.cells, drawn.IDENTITY)
        is_there = there.keys() >= set(before.names)
        if is_there and drawn.signatures(rows, examples, method) == before.signatures:
            return 0
    columns = [*drawn.IDENTITY, *unit.kinds.values(), "mask", *schema.MASK_SIDES, "same_as"]
    rows = _rows(run, unit, blocks, layout.cells, columns)
    examples = _rows(run, unit, others, row.cells, columns)
    now, changed = Drawn(drawn.signatures(rows, examples, method)), 0
    assets, strongest = Assets(dest, there), []
    by_map = zip(unit.maps, _by_map(rows, unit), _by_map(examples, unit), strict=True)
    for feature_map, of_map, its_examples in by_map:
        if of_map.num_rows:
            files = _kept(before, now, feature_map, there)
            changed += not files
            if not files:
                files = _draw(assets, unit, f"{feature_map}", of_map, layout)
                files |= _draw_masks(assets, unit, feature_map, of_map, layout)
                files |= _draw_examples(assets, unit, feature_map, its_examples, row)
            now.of_map[feature_map] = files
            shown = of_map.select(drawn.SAID).to_pylist()
            now.kept[feature_map] = [sheets.kept_square(winner, layout) for winner in shown]
            again = [winner["same_as"] or 0 for winner in shown]
            now.again.update({feature_map: again} if any(again) else {})
        strongest.append(next(iter(of_map.slice(0, 1).to_pylist()), None))
    now.sprites.update(_draw_sprites(assets, unit, strongest, layout))
    dest.write(record, now.encoded())
    return changed


def _kept(before: Drawn, now: Drawn, feature_map: int, there: Iterable[str]) -> Files | None:
    """The files that a map has already, if they are still what is to be drawn."""
    files = before.of_map.get(feature_map, {})
    same = before.signatures.get(feature_map) == now.signatures[feature_map]
    return files if same and set(there).issuperset(files.values()) else None


def _draw(assets: Assets, unit: Unit, name: str, rows: pa.Table, layout: sheets.Layout) -> Files:
    """Draw what a feature map's page shows of some rows; the names of the files."""
    stem, frame = f"{layer_folder(unit.layer)}/{name}", rows.to_pandas()
    block = partial(sheets.block, frame, layout=layout)
    projections = sheets.as_avif(block("projection"))
    files = {"projections": assets.write(f"{stem}.avif", projections)}
    if unit.patches:
        files["patches"] = assets.write(f"{stem}.webp", sheets.as_webp(block("patch")))
    return files


def _draw_masks(
    assets: Assets, unit: Unit, feature_map: int, rows: pa.Table, layout: sheets.Layout
) -> Files:
    """Draw what dims the patches, where these are shown."""
    if not unit.patches:
        return {}
    masks = sheets.as_webp(sheets.block(rows.to_pandas(), "mask", layout))
    name = f"{layer_folder(unit.layer)}/{feature_map}-masks.webp"
    return {"masks": assets.write(name, masks)}


def _draw_examples(
    assets: Assets, unit: Unit, feature_map: int, rows: pa.Table, layout: sheets.Layout
) -> Files:
    """Draw a map's examples, if it has any."""
    if not rows.num_rows:
        return {}
    drawn_too = _draw(assets, unit, f"{feature_map}-examples", rows, layout)
    return {f"example-{kind}": name for kind, name in drawn_too.items()}


def _draw_sprites(
    assets: Assets, unit: Unit, strongest: list[dict[str, Any] | None], layout: sheets.Layout
) -> Iterator[tuple[str, str]]:
    """Draw small pictures of each map's strongest winner, if it has one; kinds and names."""
    for kind, column in unit.kinds.items():
        for size, side in sheets.THUMBNAILS.items():
            cells = [
                sheets.thumbnail(row, column, side, layout) if row else None for row in strongest
            ]
            name = f"{layer_folder(unit.layer)}/{kind}-{size}-{unit.page}.webp"
            data = sheets.as_webp(sheets.sprite(cells, side))
            yield f"{kind}-{size}", assets.write(name, data)


def _store_pictures(run: Store, dest: Store, unit: Unit, blocks: Iterable[Block]) -> None:
    """Store the whole pictures that are this unit's to store; they are JPEGs already."""
    if not unit.pictures:
        return
    columns = ["feature_map", "rank", "sample", "picture"]
    rows = _rows(run, unit, blocks, max(rank for _, rank in unit.pictures), columns)
    for feature_map, rank, sample, picture in zip(*rows.to_pydict().values(), strict=True):
        if (feature_map, rank) in unit.pictures:
            dest.write(picture_name(unit.folder, sample), picture, kept="forever")


def layout_of(run: Store, layer: str, blocks: Iterable[Block]) -> sheets.Layout:
    """How a layer's sheets are arranged.

    It follows from the whole layer, so that all its units agree.
    """
    cells = ranks_of(blocks)
    boxes = read_winners(run, layer, list(schema.SIDES)).to_pandas()
    limits = read_spec(run).preprocessing.input_size
    return sheets.Layout.of(min(cells, schema.RANKS_SHOWN), sheets.longest_side(boxes), limits)


def ranks_of(blocks: Iterable[Block]) -> int:
    """Up to which rank there are projections, at least 1."""
    return max([1, *(block.ranks for block in blocks)])


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
