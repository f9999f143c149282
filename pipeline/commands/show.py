"""Runs and nets as tables for the terminal."""

from typing import Any

import pandas as pd
from rich.table import Table

from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.nets import known
from pipeline.data.class_names import called
from pipeline.data.store import Store
from pipeline.data.stored.progress import now, read_progress
from pipeline.data.stored.results import is_mined, projection_blocks, read_winners
from pipeline.data.weights.load import load_net
from pipeline.request import ShowRequest
from pipeline.run import Run
from pipeline.terminal import legible, span

_STAGES = ("mine", "project", "publish")


def shown(request: ShowRequest) -> Table:
    """What is asked for: the run, a layer of it, or a feature map.

    Raises:
        RequestError: there is no such run, layer or map.
    """
    run = Run(request.run, request.storage_options)
    if request.layer is None:
        return run_table(run)
    if request.feature_map is None:
        return layer_table(run, request.layer)
    return winners_table(run, request.layer, request.feature_map)


def run_table(run: Run) -> Table:
    """The run's state: per layer its maps, winners and projections."""
    spec = run.spec
    mined = is_mined(run.store)
    state = _finished(run) if mined else _unfinished(run)
    table = Table(
        "layer", "maps", "dead", "winners", "projected",
        title=legible(f"{spec.net} ({spec.weights}) on {spec.data}: {state}"),
        box=None, pad_edge=False, title_justify="left", caption=_stages(run.store),
        caption_justify="left",
    )  # fmt: skip
    for layer in spec.layers:
        counts = ["", "", ""]
        if mined:
            maps = run.feature_maps()
            of_layer = maps[maps["layer"] == layer.name]
            winners = read_winners(run.store, layer.name, ["feature_map", "rank"])
            blocks = projection_blocks(run.store, layer.name)
            projected = sum(int(block.has(winners).sum()) for block in blocks)
            dead = int((of_layer["active"] == 0).sum())
            counts = [str(dead), str(len(winners)), str(projected)]
        table.add_row(legible(layer.name), str(layer.maps), *counts)
    return table


def _finished(run: Run) -> str:
    maps = run.feature_maps()
    unsure = int((~maps["certified"]).sum())
    return f"{maps['images'].max()} images, {len(run.skipped())} skipped" + (
        f", {unsure} maps not certified" if unsure else ""
    )


def _unfinished(run: Run) -> str:
    return f"not mined to its end, {len(run.store.list(run.spec.parts_folder))} parts done"


def _stages(run: Store) -> str:
    """A line for each stage that has been begun: how far it is, or what it took."""
    lines = []
    for stage in _STAGES:
        if (progress := read_progress(run, stage)) is not None:
            ago = (now() - progress.updated).total_seconds()
            when = "" if progress.is_over else f" (as of {span(ago)} ago)"
            lines.append(f"{progress.sentence()}{when}")
    return "\n".join(lines)


def layer_table(run: Run, layer: str) -> Table:
    """The feature maps of a layer: how active, how strong, and what their best winners show."""
    winners = run.winners(layer)
    maps = run.feature_maps()
    table = Table("map", "active", "max", "mean", "winners show", title=legible(layer), box=None)
    named = _classes(winners).fillna(winners["key"]).groupby(winners["feature_map"])
    classes = {feature_map: list(dict.fromkeys(names)) for feature_map, names in named}
    for row in maps[maps["layer"] == layer].to_dict("records"):
        names = classes.get(row["feature_map"], ["dead"])
        more = f" +{len(names) - 3}" if len(names) > 3 else ""
        active = f"{row['active'] / row['images']:.1%}"
        table.add_row(
            str(row["feature_map"]), active, f"{row['max']:.4g}", f"{row['mean']:.4g}",
            legible(", ".join(names[:3]) + more),
        )  # fmt: skip
    return table


def winners_table(run: Run, layer: str, feature_map: int) -> Table:
    """The winners of one feature map by rank.

    Raises:
        RequestError: there is no such map.
    """
    winners = run.winners(layer, feature_map)
    columns = ("rank", "activation", "class", "key", "y, x", "box in the picture")
    table = Table(*columns, title=legible(f"{layer}, feature map {feature_map}"), box=None)
    for row, class_name in zip(winners.to_dict("records"), _classes(winners), strict=True):
        left, top, right, bottom = (
            round(row[f"source_{side}"]) for side in ("left", "top", "right", "bottom")
        )
        table.add_row(
            str(row["rank"]),
            f"{row['activation']:.5g}",
            legible(class_name or ""),
            legible(row["key"]),
            f"{row['y']}, {row['x']}",
            f"{left}, {top} - {right}, {bottom}",
        )
    return table


def _classes(winners: pd.DataFrame) -> "pd.Series[Any]":
    """What the class of each winner is called; None where it is unknown."""
    pairs = zip(winners["label"], winners["class_name"], strict=True)
    names = [
        called(None if pd.isna(label) else int(label), None if pd.isna(name) else name)
        for label, name in pairs
    ]
    return pd.Series(names, winners.index, dtype=object)


def nets_table() -> Table:
    """Every net that is known by name: its input and its weights."""
    table = Table("net", "input", "resize", "weights", box=None, pad_edge=False)
    for name in known.names():
        prepared = known.preprocessing(name)
        weights = ", ".join(known.torchvision_weights(name)) or "bundled"
        if name in known.VARIANTS:
            weights = "--weights FILE"
        resize = prepared.resize
        resized = str(resize) if isinstance(resize, int) else _by(resize)
        table.add_row(name, _by(prepared.input_size), resized, weights)
    return table


def layers_table(name: str) -> tuple[Table, list[str]]:
    """The layers of a net, and a line for each that cannot be mined or projected.

    Raises:
        RequestError: there is no such net.
    """
    net = load_net(name, "random:0").net
    columns = ("layer", "maps", "size", "receptive field", "stride", "starts at")
    title = f"{name}, input {_by(net.preprocessing.input_size)}"
    table = Table(*columns, title=title, box=None, pad_edge=False)
    for layer in net.graph.layers:
        field = receptive_field(net.graph, layer)
        table.add_row(
            legible(layer.name),
            str(layer.maps),
            _by(layer.size),
            _by(field.size),
            _by(field.stride),
            ", ".join(map(str, field.start)),
        )
    opaque = [
        f"{layer} cannot be projected: no way down through {what}."
        for layer, what in net.graph.opaque.items()
    ]
    left_out = [f"{name} is not mined: {why}." for name, why in net.graph.left_out.items()]
    return table, opaque + left_out


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]}×{pair[1]}"
