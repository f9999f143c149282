"""The last stage: a run's pictures, and the pages that show them, put where a browser finds them.

First every unit of `units`, in any order and anywhere, by `unit.publish_unit`; then `publish_pages`
once. All files but the index have names that tell their content, so what is there stays as it is,
and who is reading an older atlas goes on reading that one. The index comes last of all. The same
run gives the same bytes; what is drawn already is not drawn again.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.atlas import sheets
from pipeline.atlas.assets import Assets
from pipeline.atlas.documents.classes import write_classes, write_pictures
from pipeline.atlas.documents.content import COLUMNS, Content, Layer
from pipeline.atlas.documents.known import read_known
from pipeline.atlas.documents.layers import write_layers
from pipeline.atlas.documents.names import INDEX, drawn_name, picture_name, pictures_folder
from pipeline.atlas.documents.root import index_page, root, write_viewer
from pipeline.atlas.drawn import Drawn, read_drawn
from pipeline.atlas.figures import write_control, write_figures
from pipeline.atlas.outline import Outline
from pipeline.atlas.preview import write_preview
from pipeline.atlas.unit import Unit, layout_of
from pipeline.config import LayerSpec, RunSpec
from pipeline.data.store import Store
from pipeline.data.store.parquet import encoded
from pipeline.data.stored.blocks import Block
from pipeline.data.stored.progress import read_progress
from pipeline.data.stored.results import (
    projection_blocks,
    read_feature_maps,
    read_skipped,
    read_spec,
    read_winners,
)
from pipeline.data.stored.tables import intact
from pipeline.errors import IncompleteError, RequestError

_READERS = 16


@dataclass(frozen=True)
class Appearance:
    """How an atlas is shown.

    Attributes:
        patches: whether pictures of the dataset may be.
        credit: what is to be said of these: whose they are, under which licence.
        url: where the atlas will be seen, for previews of links to it.
    """

    patches: bool = True
    credit: str = ""
    url: str = ""


@dataclass(frozen=True)
class Published:
    """What an atlas shows.

    Args:
        layers: with projections, in the net's order.
        maps: of these layers.
        dead: of these, the ones that no image activates.
        missing: of these, the ones that have winners but no projections yet.
        unprojected: the run's other layers.
        files: that it consists of.
    """

    layers: tuple[str, ...]
    maps: int
    dead: int
    missing: int
    unprojected: tuple[str, ...]
    files: frozenset[str]


def units(run: Store, dest: Store, look: Appearance | None = None) -> list[Unit]:
    """The parts in which the run's pictures are made.

    Args:
        run: the run.
        dest: where the atlas is to be; whole pictures that are there are not stored again.
        look: how it is shown.

    Raises:
        RequestError: this is no run, or it has no projections yet.
    """
    look, spec = look or Appearance(), read_spec(run)
    statistics = _statistics(run, spec)
    seen = set(dest.list(folder := pictures_folder(spec)))
    made = []
    for layer, blocks in _projected_layers(run, statistics).items():
        first_wins = _first_wins(run, layer, blocks, folder, seen) if look.patches else frozenset()
        for unit in _units_of(layer, len(statistics[layer]), look):
            own = frozenset(win for win in first_wins if win[0] in unit.maps)
            made.append(replace(unit, pictures=own, folder=folder))
    return made


def _first_wins(
    run: Store, layer: str, blocks: Iterable[Block], folder: str, seen: set[str]
) -> frozenset[tuple[int, int]]:
    """Winners (map, rank) of a layer whose pictures were not `seen` before, each picture once."""
    rows = read_winners(run, layer, ["feature_map", "rank", "sample"]).to_pydict()
    projected, found = _ranks(blocks), set()
    for feature_map, rank, sample in zip(*rows.values(), strict=True):
        name = picture_name(folder, sample)
        if rank <= projected.get(feature_map, 0) and name not in seen:
            seen.add(name)
            found.add((feature_map, rank))
    return frozenset(found)


def _units_of(layer: str, maps: int, look: Appearance) -> Iterator[Unit]:
    for at in range(0, maps, sheets.SPRITE_CELLS):
        yield Unit(layer, at, min(at + sheets.SPRITE_CELLS, maps), look.patches)


def publish_pages(
    run: Store, dest: Store, look: Appearance | None = None, outline: Outline | None = None
) -> Published:
    """Write all that is said of the pictures and, last, the index of the atlas.

    Args:
        run: the run.
        dest: where the atlas is, with the pictures of all `units` in it.
        look: how it is shown.
        outline: what is known of the net.

    Raises:
        RequestError: this is no run, or it has no projections yet.
        IncompleteError: a unit has not been published.
    """
    look, outline = look or Appearance(), outline or Outline()
    content, unprojected = _content(run, dest, look, outline)
    assets = Assets(dest, dest.list())
    layers = write_layers(assets, content)
    viewer = write_viewer(assets)
    figures = write_figures(assets, run) if look.patches else {}
    files = {
        "ask": viewer["ask"],
        "wall": viewer["wall"],
        "licence": viewer["licence"],
        "control": write_control(assets, run) if look.patches else "",
        "diagram": assets.write("viewer/net.svg", outline.diagram) if outline.diagram else "",
        "classes": write_classes(assets, content) if content.classes else "",
        "pictures": write_pictures(assets, content, figures),
        "winners": assets.write("data/winners.parquet", encoded(_winners_table(content))),
        "feature_maps": assets.write("data/feature_maps.parquet", encoded(_maps_table(content))),
    }
    preview = write_preview(assets, content)
    page = index_page(content, root(content, layers, files), viewer, preview)
    dest.write(INDEX, page, kept="never")
    return Published(
        layers=tuple(layer.name for layer in content.layers),
        maps=sum(layer.maps for layer in content.layers),
        dead=sum(len(layer.dead) for layer in content.layers),
        missing=sum(len(layer.missing) for layer in content.layers),
        unprojected=unprojected,
        files=frozenset({INDEX, *assets.used, *_records(content), *_whole_pictures(content)}),
    )


def _content(
    run: Store, dest: Store, look: Appearance, outline: Outline
) -> tuple[Content, tuple[str, ...]]:
    """What is to be shown, and the layers that cannot be."""
    spec = read_spec(run)
    statistics = _statistics(run, spec)
    projected = _projected_layers(run, statistics)
    layers = tuple(
        _layer(run, dest, spec.layer(name), statistics[name], blocks, look)
        for name, blocks in projected.items()
    )
    mined = read_progress(run, "mine")
    content = Content(
        spec,
        layers,
        skipped=len(read_skipped(run)),
        patches=look.patches,
        credit=look.credit,
        url=look.url,
        unpooling=_unpooling(run),
        mined=f"{mined.updated:%Y-%m-%d}" if mined else "",
        outputs=outline.outputs,
    )
    return content, tuple(name for name in statistics if name not in projected)


def _unpooling(run: Store) -> str:
    with intact(run, schema.PROJECTION_SETTINGS):
        return str(json.loads(run.read(schema.PROJECTION_SETTINGS))["unpooling"])


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
    run: Store,
    dest: Store,
    spec: LayerSpec,
    stats: pd.DataFrame,
    blocks: Iterable[Block],
    look: Appearance,
) -> Layer:
    shown = read_winners(run, spec.name, COLUMNS).filter(pc.field("rank") <= schema.RANKS_SHOWN)
    winners = shown.to_pandas().sort_values(["feature_map", "rank"], ignore_index=True)
    ranks = _ranks(blocks)
    projected = {m: ranks[m] for m in winners["feature_map"].unique().tolist() if m in ranks}
    pages = _drawn(dest, spec.name, len(stats), projected, look)
    layout, known = layout_of(run, spec.name, blocks), read_known(run, spec.name, stats)
    return Layer(spec, stats, winners, projected, pages, layout, known)


def _ranks(blocks: Iterable[Block]) -> dict[int, int]:
    """Feature map → up to which rank it has projections that are shown."""
    return {m: min(block.ranks, schema.RANKS_SHOWN) for block in blocks for m in block.maps}


def _drawn(
    dest: Store, layer: str, maps: int, projected: Mapping[int, int], look: Appearance
) -> list[Drawn]:
    """What is drawn of a layer.

    Raises:
        IncompleteError: it is not all that is projected.
    """
    units = list(_units_of(layer, maps, look))
    with ThreadPoolExecutor(_READERS) as pool:
        pages = list(pool.map(lambda unit: read_drawn(dest, drawn_name(layer, unit.page)), units))
    for unit, page in zip(units, pages, strict=True):
        if page.of_map.keys() != projected.keys() & set(unit.maps) or not page.sprites:
            raise IncompleteError(
                f"The pictures of {layer} are not all in {dest.url}: give the same command again."
            )
    return pages


def _records(content: Content) -> Iterator[str]:
    for layer in content.layers:
        for page in range(len(layer.pages)):
            yield drawn_name(layer.name, page)


def _whole_pictures(content: Content) -> Iterator[str]:
    folder = pictures_folder(content.spec)
    return (picture_name(folder, sample) for sample in content.pictured)


def _winners_table(content: Content) -> pa.Table:
    """The winners that are shown, without where their owner keeps them."""
    names = [layer.name for layer in content.layers]
    frame = content.winners.drop(columns="class")
    frame["layer"] = [names[number] for number in frame["layer"]]
    fields = [pa.field("layer", pa.string()), *(schema.WINNER.field(name) for name in COLUMNS)]
    return pa.Table.from_pandas(frame, pa.schema(fields), preserve_index=False)


def _maps_table(content: Content) -> pa.Table:
    frame = pd.concat([layer.stats for layer in content.layers], ignore_index=True)
    return pa.Table.from_pandas(frame, schema.FEATURE_MAP, preserve_index=False)
