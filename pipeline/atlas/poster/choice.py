"""What a poster shows of a run: its layers, feature maps and example pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.atlas.drawing.words import readable
from pipeline.atlas.layers import spread_by_depth
from pipeline.config import LayerSpec, RunSpec
from pipeline.data.findings import Occluded
from pipeline.data.pictures import Wanted
from pipeline.data.samples import Located
from pipeline.data.store import Store
from pipeline.data.stored.results import (
    projected_maps,
    read_feature_maps,
    read_projections,
    read_winners,
)
from pipeline.errors import RequestError

MOST_LAYERS = 5
"""Layers with a row of their own, where none are named."""

MOST_NAMED = 6
"""Layers that have room at all."""

RANKS = 3
"""Winners that are shown of each feature map."""

CRITERION = (
    "Feature maps shown: those whose three winners stand farthest above the map's mean over all "
    "images, in standard deviations, among the half of a layer with the largest activations; no "
    "picture twice in a layer."
)
BY_HAND = "Feature maps chosen by hand."


@dataclass(frozen=True)
class ShownMap:
    """A feature map on a poster.

    Attributes:
        feature_map: which channel.
        note: the class that most of its winners are of, or its largest activation.
        winners: the first of its rows in the run's projections.
    """

    feature_map: int
    note: str
    winners: pd.DataFrame


def shown_layers(
    spec: RunSpec, named: Sequence[str] | None = None, with_maps: Sequence[str] = ()
) -> list[LayerSpec]:
    """The layers of a poster: those that were named, else up to `MOST_LAYERS`, by depth.

    Args:
        spec: what the run is.
        named: layers to show.
        with_maps: layers of which feature maps were chosen; shown alone where none are named.

    Raises:
        RequestError: the run has no such layer, or there are too many for a page.
    """
    wanted = {spec.layer(name).name for name in named or with_maps}
    if not wanted:
        return spread_by_depth(spec.layers, MOST_LAYERS)
    for name in with_maps:
        if spec.layer(name).name not in wanted:
            raise RequestError(
                f"--maps chooses feature maps of {name}, which --layers leaves out; add it there."
            )
    if len(wanted) > MOST_NAMED:
        raise RequestError(
            f"A poster has room for {MOST_NAMED} layers, not {len(wanted)}; name fewer."
        )
    return [layer for layer in spec.layers if layer.name in wanted]


def require_shown(
    run: Store, spec: RunSpec, named: Sequence[str] | None, maps: Mapping[str, Sequence[int]]
) -> None:
    """Refuse what cannot be shown, before anything is computed.

    Raises:
        RequestError: a layer or map is not there, a map is dead, or has no projections.
    """
    for layer in shown_layers(spec, named, list(maps)):
        winners = read_winners(run, layer.name, ["feature_map"]).to_pandas()
        projected = projected_maps(run, layer.name)
        if not projected:
            raise RequestError(_not_projected(run, f"Layer {layer.name}"))
        for feature_map in maps.get(layer.name, ()):
            _require(run, layer, feature_map, winners, projected)


def shown_maps(
    run: Store, layer: LayerSpec, count: int, by_hand: Sequence[int] | None = None
) -> list[ShownMap]:
    """The feature maps that a poster shows of a layer.

    Args:
        run: mined and projected.
        layer: one of its layers.
        count: how many maps there is room for.
        by_hand: these maps, as many as there is room for.

    Raises:
        RequestError: a map is not there, is dead, or has no projections.
    """
    winners = read_winners(run, layer.name).to_pandas()
    projected = projected_maps(run, layer.name)
    if by_hand is not None:
        for feature_map in by_hand:
            _require(run, layer, feature_map, winners, projected)
        chosen = list(by_hand)[:count]
    else:
        if not projected:
            raise RequestError(_not_projected(run, f"Layer {layer.name}"))
        stats = read_feature_maps(run)
        chosen = outstanding(stats[stats["layer"] == layer.name], winners, projected, count)
    rows = read_projections(run, layer.name, chosen, RANKS)
    of_map = {number: winners[winners["feature_map"] == number] for number in chosen}
    return [
        ShownMap(number, _note(of_map[number]), rows[rows["feature_map"] == number])
        for number in chosen
    ]


def outstanding(
    stats: pd.DataFrame, winners: pd.DataFrame, projected: set[int], count: int
) -> list[int]:
    """The maps of a layer that `CRITERION` chooses, in their order.

    Args:
        stats: the layer's rows of the run's feature maps.
        winners: the layer's winners.
        projected: maps with projections.
        count: how many at most; fewer where fewer fulfil it.
    """
    first = winners[winners["rank"] <= RANKS]
    groups = first.groupby("feature_map")["activation"]
    peak = pd.DataFrame({"strongest": groups.mean(), "winners": groups.count()})
    table = stats.set_index("feature_map").join(peak, how="inner")
    full = table["winners"] == table["winners"].max()
    # a map that hardly ever fires stands out by far, and shows nothing but noise
    strong = table["max"] >= table["max"].median()
    table = table[full & strong & table.index.isin(list(projected))]
    spread = table["std"].clip(lower=np.finfo(np.float32).tiny)
    score = (table["strongest"] - table["mean"]) / spread
    order = [int(number) for number in score.sort_values(ascending=False, kind="stable").index]
    samples = first.groupby("feature_map")["sample"].agg(set)
    chosen: list[int] = []
    seen: set[int] = set()
    for number in order:
        if not samples[number] & seen:
            chosen.append(number)
            seen |= samples[number]
    # a small dataset may not have so many different pictures
    chosen += [number for number in order if number not in chosen]
    return chosen[:count]


def example_pictures(run: Store, layer: LayerSpec, count: int) -> list[Wanted]:
    """Pictures worth explaining: those that win the most feature maps of a layer.

    Of different classes where classes are known.
    """
    winners = read_winners(run, layer.name).to_pandas()
    first = winners[winners["rank"] == 1]
    order = first.groupby("sample").size().sort_values(ascending=False, kind="stable").index
    rows = first.drop_duplicates("sample").set_index("sample")
    wanted: list[Wanted] = []
    for sample in order:
        row = rows.loc[sample].astype(object).where(rows.loc[sample].notna(), None)
        picture = Wanted(
            row["key"],
            Located(row["shard"], row["key"], _whole(row["offset"]), _whole(row["length"])),
            int(sample),
            _whole(row["label"]),
            row["class_name"],
        )
        if picture.label is None or picture.label not in {other.label for other in wanted}:
            wanted.append(picture)
        if len(wanted) == count:
            break
    return wanted


def most_telling(experiments: Sequence[Occluded]) -> Occluded:
    """The experiment to show: the net is right, and hiding something makes it doubt the most."""

    def drop(experiment: Occluded) -> tuple[bool, float]:
        found = experiment.found
        fall = found.base_probability - found.probability.min()
        return found.base_class == found.label, float(fall)

    return max(experiments, key=drop)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _require(
    run: Store, layer: LayerSpec, feature_map: int, winners: pd.DataFrame, projected: set[int]
) -> None:
    layer.require_map(feature_map)
    what = f"Layer {layer.name}, feature map {feature_map}"
    if not (winners["feature_map"] == feature_map).any():
        raise RequestError(f"{what} is dead: no image of the run activates it; choose another.")
    if feature_map not in projected:
        raise RequestError(_not_projected(run, what))


def _not_projected(run: Store, what: str) -> str:
    return f"{what} has no projections; run `deconv-atlas project --run {run.url}` first."


def _note(winners: pd.DataFrame) -> str:
    names = winners["class_name"].dropna()
    if not len(names):
        return f"strongest {readable(winners['activation'].max())}"
    counts = names.value_counts()
    return f"{counts.index[0].split(', ')[0]} {counts.iloc[0]}/{len(winners)}"
