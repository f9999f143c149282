"""A run as tables for the terminal, at once: nothing here needs torch or pandas."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table

from pipeline.config import RunSpec
from pipeline.data.class_names import called
from pipeline.data.store import Store
from pipeline.data.stored.progress import now, read_progress
from pipeline.data.stored.results import (
    is_mined,
    projection_blocks,
    read_feature_map_table,
    read_skipped_table,
    read_spec,
    read_winners,
)
from pipeline.request import ShowRequest
from pipeline.terminal import legible, span

_STAGES = ("mine", "project", "publish")
_NAMED = ("label", "class_name", "key")


def shown(request: ShowRequest) -> Table:
    """What is asked for: the run, a layer of it, or a feature map.

    Raises:
        RequestError: there is no such run, layer or map.
    """
    run = Store(request.run, request.storage_options)
    spec = read_spec(run)
    if request.layer is None:
        return run_table(run, spec)
    layer = spec.layer(request.layer)
    if request.feature_map is None:
        return layer_table(run, layer.name)
    layer.require_map(request.feature_map)
    return winners_table(run, layer.name, request.feature_map)


def run_table(run: Store, spec: RunSpec) -> Table:
    """The run's state: per layer its maps, winners and projections."""
    mined = is_mined(run)
    state = _finished(run) if mined else _unfinished(run, spec)
    table = Table(
        "layer", "maps", "dead", "winners", "projected",
        title=legible(f"{spec.net} ({spec.weights}) on {spec.data}: {state}"),
        box=None, pad_edge=False, title_justify="left", caption=_stages(run),
        caption_justify="left",
    )  # fmt: skip
    maps = read_feature_map_table(run, ["layer", "active"]) if mined else None
    for layer in spec.layers:
        counts = ["", "", ""]
        if maps is not None:
            active = _where(maps, "layer", layer.name)["active"].to_pylist()
            winners = Counter(read_winners(run, layer.name, ["feature_map"])[0].to_pylist())
            blocks = projection_blocks(run, layer.name)
            projected = sum(min(winners[n], block.ranks) for block in blocks for n in block.maps)
            counts = [str(active.count(0)), str(winners.total()), str(projected)]
        table.add_row(legible(layer.name), str(layer.maps), *counts)
    return table


def _finished(run: Store) -> str:
    maps = read_feature_map_table(run, ["images", "certified"])
    unsure = len(maps) - (pc.sum(maps["certified"]).as_py() or 0)
    images, skipped = pc.max(maps["images"]).as_py(), len(read_skipped_table(run))
    return f"{images} images, {skipped} skipped" + (
        f", {unsure} maps not certified" if unsure else ""
    )


def _unfinished(run: Store, spec: RunSpec) -> str:
    return f"not mined to its end, {len(run.list(spec.parts_folder))} parts done"


def _stages(run: Store) -> str:
    """A line for each stage that has been begun: how far it is, or what it took."""
    lines = []
    for stage in _STAGES:
        if (progress := read_progress(run, stage)) is not None:
            ago = (now() - progress.updated).total_seconds()
            when = "" if progress.is_over else f" (as of {span(ago)} ago)"
            lines.append(f"{progress.sentence()}{when}")
    return "\n".join(lines)


def layer_table(run: Store, layer: str) -> Table:
    """The feature maps of a layer: how active, how strong, and what their best winners show."""
    classes: dict[int, dict[str, None]] = {}
    for winner in read_winners(run, layer, ["feature_map", "rank", *_NAMED]).to_pylist():
        name = _class(winner) or winner["key"]
        classes.setdefault(winner["feature_map"], {})[name] = None
    maps = read_feature_map_table(run)
    table = Table("map", "active", "max", "mean", "winners show", title=legible(layer), box=None)
    for row in _where(maps, "layer", layer).to_pylist():
        names = [*classes.get(row["feature_map"], ["dead"])]
        more = f" +{len(names) - 3}" if len(names) > 3 else ""
        active = f"{row['active'] / row['images']:.1%}"
        table.add_row(
            str(row["feature_map"]), active, f"{row['max']:.4g}", f"{row['mean']:.4g}",
            legible(", ".join(names[:3]) + more),
        )  # fmt: skip
    return table


def winners_table(run: Store, layer: str, feature_map: int) -> Table:
    """The winners of one feature map by rank."""
    winners = read_winners(run, layer)
    columns = ("rank", "activation", "class", "key", "y, x", "box in the picture")
    table = Table(*columns, title=legible(f"{layer}, feature map {feature_map}"), box=None)
    for row in _where(winners, "feature_map", feature_map).to_pylist():
        left, top, right, bottom = (
            round(row[f"source_{side}"]) for side in ("left", "top", "right", "bottom")
        )
        table.add_row(
            str(row["rank"]),
            f"{row['activation']:.5g}",
            legible(_class(row) or ""),
            legible(row["key"]),
            f"{row['y']}, {row['x']}",
            f"{left}, {top} - {right}, {bottom}",
        )
    return table


def _where(table: pa.Table, column: str, value: object) -> pa.Table:
    """The rows with a value in a column, which lie together.

    By hand, since for any scalar pyarrow imports pandas, which takes longer than all of this.
    """
    values = table[column].to_pylist()
    count = values.count(value)
    return table.slice(values.index(value) if count else 0, count)


def _class(winner: Mapping[str, Any]) -> str | None:
    """What the class of a winner is called; None where it is unknown."""
    return called(winner["label"], winner["class_name"])
