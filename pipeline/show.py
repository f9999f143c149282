"""A run as tables for the terminal."""

from rich.table import Table

from pipeline import schema
from pipeline.run import Run


def run_table(url: str) -> Table:
    """The run's state: per layer its maps, winners and projections."""
    run = Run(url)
    spec = run.spec
    mined = run.store.exists(schema.FEATURE_MAPS)
    images = int(run.feature_maps()["images"].max()) if mined else 0
    state = f"{images} images, {len(run.skipped())} skipped" if mined else _unfinished(run)
    table = Table(
        "layer", "maps", "dead", "winners", "projected",
        title=f"{spec.net} ({spec.weights}) on {spec.data}: {state}",
        box=None, pad_edge=False, title_justify="left",
    )  # fmt: skip
    for layer in spec.layers:
        counts = ["", "", ""]
        if mined:
            maps = run.feature_maps()
            of_layer = maps[maps["layer"] == layer.name]
            names = run.store.list(f"{schema.PROJECTIONS}/layer={layer.name}")
            projected = sum(len(run.store.read_table(name, ["rank"])) for name in names)
            dead = int((of_layer["active"] == 0).sum())
            counts = [str(dead), str(len(run.winners(layer.name))), str(projected)]
        table.add_row(layer.name, str(layer.maps), *counts)
    return table


def _unfinished(run: Run) -> str:
    return f"not mined to its end, {len(run.store.list(schema.HEAPS))} parts done"


def layer_table(url: str, layer: str) -> Table:
    """The feature maps of a layer: how active, how strong, and what their best winners show."""
    run = Run(url)
    winners = run.winners(layer)
    maps = run.feature_maps()
    table = Table("map", "active", "max", "mean", "winners show", title=layer, box=None)
    shown = winners["class_name"].fillna(winners["key"]).groupby(winners["feature_map"])
    classes = {feature_map: list(dict.fromkeys(names)) for feature_map, names in shown}
    for row in maps[maps["layer"] == layer].to_dict("records"):
        names = classes.get(row["feature_map"], ["dead"])
        more = f" +{len(names) - 3}" if len(names) > 3 else ""
        table.add_row(
            str(row["feature_map"]),
            f"{row['active'] / row['images']:.1%}",
            f"{row['max']:.4g}",
            f"{row['mean']:.4g}",
            ", ".join(names[:3]) + more,
        )
    return table


def winners_table(url: str, layer: str, feature_map: int) -> Table:
    """The winners of one feature map by rank.

    Raises:
        RequestError: there is no such map.
    """
    run = Run(url)
    winners = run.winners(layer, feature_map)
    columns = ("rank", "activation", "class", "key", "y, x", "box in the picture")
    table = Table(*columns, title=f"{layer}, feature map {feature_map}", box=None)
    for row in winners.to_dict("records"):
        left, top, right, bottom = (
            round(row[f"source_{side}"]) for side in ("left", "top", "right", "bottom")
        )
        table.add_row(
            str(row["rank"]),
            f"{row['activation']:.5g}",
            row["class_name"] or "",
            row["key"],
            f"{row['y']}, {row['x']}",
            f"{left}, {top} - {right}, {bottom}",
        )
    return table
