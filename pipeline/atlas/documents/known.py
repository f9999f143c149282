"""What a run knows of a layer's maps beside their winners, as an atlas shows it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.data.store import Store
from pipeline.data.stored.tables import gone, read_table

BARS = 24
"""Of a map's distribution, from zero to its strongest activation."""

_BEST = 5
"""Classes of a map that are told of."""

_EXAMPLES = ["feature_map", "rank", "quantile", "activation", "key", "label", "class_name"]
_OF_CLASS = ["feature_map", "label", "class_name", "mean", "share"]


@dataclass(frozen=True)
class Known:
    """What is known of a layer's M maps.

    Attributes:
        bars: (M, BARS) images by their largest activation; in the first also the inactive ones.
        examples: at quantiles of the activations, by map and rank; `_EXAMPLES`.
        best: the classes with the largest mean activation, by map, the largest first:
            ``feature_map``, ``label``, ``class_name``, ``mean`` and ``share`` of active images.
    """

    bars: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, BARS), np.int64))
    examples: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=_EXAMPLES))
    best: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=_OF_CLASS))


def read_known(run: Store, layer: str, stats: pd.DataFrame) -> Known:
    """What is known of a layer; nothing where an earlier version has mined it.

    Args:
        run: where it is.
        layer: its name.
        stats: its rows of the feature maps' table.

    Raises:
        IncompleteError: a table is damaged or gone.
    """
    if not run.list(f"{schema.DISTRIBUTIONS}/layer={schema.quoted(layer)}"):
        return Known()
    spread = _read(run, schema.DISTRIBUTIONS, layer, schema.DISTRIBUTION).to_pandas()
    examples = _read(run, schema.EXAMPLES, layer, schema.EXAMPLE, _EXAMPLES).to_pandas()
    classes = _read(run, schema.CLASSES, layer, schema.OF_CLASS)
    return Known(_bars(spread, stats), examples, _best(classes, len(stats)))


def _read(
    run: Store, folder: str, layer: str, fields: pa.Schema, columns: Sequence[str] | None = None
) -> pa.Table:
    name = schema.of_layer(folder, layer)
    try:
        return read_table(run, name, fields, columns)
    except FileNotFoundError as error:
        raise gone(run, name) from error


def _bars(spread: pd.DataFrame, stats: pd.DataFrame) -> NDArray[np.int64]:
    """Buckets in bars that are all as wide; a bucket is where its middle is."""
    maps, images = spread["feature_map"].to_numpy(), spread["images"].to_numpy()
    middles = (spread["lower"] + spread["upper"]).to_numpy() / 2
    most = np.maximum(stats["max"].to_numpy()[maps], middles)  # of a bucket with the strongest
    places = (middles / most * BARS).astype(np.int64).clip(max=BARS - 1)
    bars = np.zeros((len(stats), BARS), np.int64)
    np.add.at(bars, (maps, places), images)
    bars[:, 0] += (stats["images"] - stats["active"]).to_numpy()
    return bars


def _best(classes: pa.Table, maps: int) -> pd.DataFrame:
    """The first classes of each map; those on which it is never active are none."""
    count = len(classes) // maps
    if not count:
        return Known().best
    means = classes["mean"].to_numpy().reshape(maps, count)
    order = np.argsort(-means, axis=1, kind="stable")[:, :_BEST]
    rows = (order + np.arange(maps)[:, None] * count).ravel()
    chosen: pd.DataFrame = classes.take(rows).to_pandas()
    chosen["share"] = chosen["active"] / chosen["images"].clip(lower=1)
    return chosen.loc[chosen["mean"] > 0, _OF_CLASS].reset_index(drop=True)
