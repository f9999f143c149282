"""The last stage: a run's sheets, overviews and web pages, put where a browser finds them.

First every unit of `units`, in any order and anywhere, by `unit.publish_unit`; then `publish_pages`
once. The index comes last of all, so that a half-published atlas shows nothing. The same run
gives the same bytes; what is drawn already is not drawn again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

import pandas as pd
import pyarrow.compute as pc

from pipeline import schema
from pipeline.atlas import manifest, sheets
from pipeline.atlas.unit import RANKS, Unit, layout_of
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
from pipeline.errors import IncompleteError, RequestError

_PAGES = ("style.css", "atlas.js", "elements.js", "pages.js", "viewer.js", "index.html")
"""The viewer's files in the order in which they are written: the index is the last."""

_SHOWN = [
    *("feature_map", "rank", "activation", "key", "label", "class_name"),
    *(f"source_{side}" for side in schema.SIDES),
]


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
    """The parts in which the run's sheets are made: the pages of the layers' overviews.

    Raises:
        RequestError: this is no run, or it has no projections yet.
    """
    statistics = _statistics(run, read_spec(run))
    cells = sheets.OVERVIEW_CELLS
    return [
        Unit(layer, at, min(at + cells, len(statistics[layer])))
        for layer in _projected_layers(run, statistics)
        for at in range(0, len(statistics[layer]), cells)
    ]


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
    return manifest.Layer(spec, stats, shown, projected, layout_of(run, spec.name, blocks))


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
