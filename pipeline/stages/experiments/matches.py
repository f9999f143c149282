"""Matches: which maps of two nets are alike, and how coarse or fine each layer's are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.core import spectrum
from pipeline.core.evenly import evenly
from pipeline.core.graph.steps import Conv
from pipeline.core.nets.known import Net
from pipeline.data.store import Store
from pipeline.data.stored.experiment_columns import MATCHES, SPECTRA
from pipeline.data.stored.results import read_feature_maps, read_projections, read_winners
from pipeline.data.stored.tables import read_table
from pipeline.stages.experiments.evolution import opened

_FEWEST_CLASSES = 3
_MAPS_AT_MOST = 64
"""Of a layer, whose projections' spectra are looked at: evenly spaced among those alive."""


@dataclass(frozen=True)
class Mined:
    """A run to compare.

    Attributes:
        name: what it is called.
        net: of the run.
        store: where it is.
        layers: of the run, in order, that are compared.
        ranks: winners up to this rank are compared; all runs have as many.
    """

    name: str
    net: Net
    store: Store
    layers: Sequence[str]
    ranks: int


# --- which maps are alike -----------------------------------------------------------------------


def matches(one: Mined, other: Mined) -> pa.Table:
    """For each map of a run the nearest of another one: rows of `MATCHES`, by layer and map.

    By winners: the map with the largest Jaccard index, the winners in common by those of either.
    By class: the map with the largest correlation of the mean activations on each class.
    """
    frame = _maps(one).assign(run=one.name, other_run=other.name)
    frame = frame.merge(_by_winners(one, other), how="left", on=["layer", "feature_map"])
    frame = frame.merge(_by_class(one, other), how="left", on=["layer", "feature_map"])
    whole = dict.fromkeys(["other_map", "shared", "class_map"], "Int64")
    frame = frame.astype(whole)
    return pa.Table.from_pandas(frame[MATCHES.names], MATCHES, preserve_index=False)


def _maps(run: Mined) -> pd.DataFrame:
    """All maps of the layers, in order."""
    stats = read_feature_maps(run.store, ["layer", "feature_map"])
    frames = [stats[stats["layer"] == layer].sort_values("feature_map") for layer in run.layers]
    maps: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return maps


def _winners(run: Mined) -> pd.DataFrame:
    columns = ["feature_map", "rank", "sample"]
    tables = [
        read_winners(run.store, layer, columns).to_pandas().assign(layer=number)
        for number, layer in enumerate(run.layers)
    ]
    winners: pd.DataFrame = pd.concat(tables, ignore_index=True)
    return winners[winners["rank"] <= run.ranks]


def _by_winners(one: Mined, other: Mined) -> pd.DataFrame:
    own, others = _winners(one), _winners(other)
    counts = [
        frame.groupby(["layer", "feature_map"]).size().rename("winners").reset_index()
        for frame in (own, others)
    ]
    keys, other_keys = ["layer", "feature_map"], ["other_layer", "other_map"]
    others = others.rename(columns=dict(zip(keys, other_keys, strict=True)))
    pairs = own.merge(others, on="sample").groupby([*keys, *other_keys]).size()
    found = pairs.rename("shared").reset_index()
    found = found.merge(counts[0], on=keys)
    renamed = counts[1].rename(columns=dict(zip(keys, other_keys, strict=True)))
    found = found.merge(renamed, on=other_keys, suffixes=("", "_other"))
    either = found["winners"] + found["winners_other"] - found["shared"]
    found["jaccard"] = found["shared"] / either
    order = ["layer", "feature_map", "jaccard", *other_keys]
    found = found.sort_values(order, ascending=[True, True, False, True, True])
    best = found.drop_duplicates(keys)[[*keys, *other_keys, "shared", "jaccard"]]
    best["layer"] = [one.layers[number] for number in best["layer"]]
    best["other_layer"] = [other.layers[number] for number in best["other_layer"]]
    return best


def _by_class(one: Mined, other: Mined) -> pd.DataFrame:
    columns = ["layer", "feature_map", "class_layer", "class_map", "class_correlation"]
    own, others = _class_means(one), _class_means(other)
    common = sorted(set(own.columns) & set(others.columns))
    if len(common) < _FEWEST_CLASSES:
        return pd.DataFrame(columns=columns)
    theirs, rows = _standardised(others[common]), []
    for _, of_layer in own.groupby("layer", sort=False):
        alike = np.nan_to_num(_standardised(of_layer[common]) @ theirs.T, nan=-2.0)
        best = alike.argmax(1)
        for key, place, value in zip(of_layer.index, best, alike.max(1), strict=True):
            if value > -2:
                rows.append((*key, *others.index[place], float(value)))
    return pd.DataFrame(rows, columns=columns)


def _class_means(run: Mined) -> pd.DataFrame:
    """(layer, map) × class: the mean activations."""
    frames = []
    for layer in run.layers:
        name = schema.of_layer(schema.CLASSES, layer)
        if run.store.exists(name):
            fields = ["feature_map", "label", "mean"]
            rows = read_table(run.store, name, schema.OF_CLASS, fields).to_pandas()
            means = rows.dropna().pivot_table(index="feature_map", columns="label", values="mean")
            frames.append(pd.concat({layer: means}, names=["layer"]))
    return pd.concat(frames) if frames else pd.DataFrame()


def _standardised(means: pd.DataFrame) -> NDArray[np.float64]:
    """Rows of mean 0 and length 1; nan where all values are equal."""
    values: NDArray[np.float64] = means.to_numpy(np.float64)
    values = values - values.mean(1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = np.full_like(values, np.nan)
    np.divide(values, lengths, out=unit, where=lengths > 0)
    return unit


# --- coarse and fine ----------------------------------------------------------------------------


def spectra(run: Mined) -> pa.Table:
    """How coarse and how fine a run's projections and first filters are: rows of `SPECTRA`."""
    stats = read_feature_maps(run.store, ["layer", "feature_map", "active"])
    filters, stride = first_filters(run.net)
    rows = []
    for number, layer in enumerate(run.layers):
        active = stats[stats["layer"] == layer]["active"]
        rows.append(
            {
                "run": run.name,
                "net": run.net.name,
                "layer": layer,
                "maps": len(active),
                "dead": int((active == 0).sum()),
                **_of_projections(run.store, layer, stride[0]),
                **(_of_filters(filters, stride) if number == 0 else {}),
            }
        )
    return pa.Table.from_pylist(rows, schema=SPECTRA)


def first_filters(net: Net) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """The filters of a net's first convolution, (N, C, H, W), and its stride."""
    first = next(step.op for step in net.graph.steps.values() if isinstance(step.op, Conv))
    weights: NDArray[np.float32] = first.module.weight.detach().cpu().float().numpy()
    return weights, first.kernel.stride


def strongest(run: Store, layer: str, most: int) -> dict[int, NDArray[np.float32]]:
    """The strongest winners' projections of some maps, evenly spaced among those projected."""
    columns = ["feature_map", "rank"]
    winners = read_winners(run, layer, columns).to_pandas()
    alive = winners.loc[winners["rank"] == 1, "feature_map"].tolist()
    rows = read_projections(run, layer, evenly(alive, most), 1, [*columns, "projection"])
    pictures = zip(rows["feature_map"].tolist(), rows["projection"], strict=True)
    return {feature_map: opened(picture) for feature_map, picture in pictures}


def _of_projections(run: Store, layer: str, stride: int) -> Mapping[str, float | None]:
    found = [
        (*spectrum.band_shares(picture), spectrum.grid_excess(picture, stride))
        for picture in _upright(strongest(run, layer, _MAPS_AT_MOST).values())
    ]
    columns = zip(*found, strict=True)
    return dict(zip(("low", "high", "grid"), map(_mean, columns), strict=bool(found)))


def _upright(pictures: Any) -> Iterator[NDArray[np.float32]]:
    return (picture.transpose(2, 0, 1) for picture in pictures)


def _of_filters(
    filters: NDArray[np.float32], stride: tuple[int, int]
) -> Mapping[str, float | None]:
    low, high = zip(*(spectrum.band_shares(each) for each in filters), strict=True)
    return {
        "filters_low": _mean(low),
        "filters_high": _mean(high),
        "filters_beyond_stride": spectrum.beyond_stride(filters, stride),
    }


def _mean(values: Sequence[float]) -> float | None:
    known = np.array(values)[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
