"""Evolution: what became of each feature map from checkpoint to checkpoint."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from pipeline import schema
from pipeline.core.likeness import rank_correlation
from pipeline.core.render import MID_GREY
from pipeline.data.store import Store
from pipeline.data.stored.experiment_columns import EVOLUTION
from pipeline.data.stored.results import read_feature_maps, read_projections, read_winners

HALF = 0.5
"""Of the last checkpoint's winners: a map that has so many of them is itself."""

_STRONGEST = ["feature_map", "rank", "sample", *schema.SIDES, "projection"]


def evolution(
    runs: Sequence[tuple[str, Store]],
    layers: Sequence[str],
    ranks: int,
    advance: Callable[[int], None] = lambda _: None,
) -> pa.Table:
    """Rows of `EVOLUTION`, by layer, map and checkpoint.

    Args:
        runs: name and place of each checkpoint's, in order of training.
        layers: that all of them have.
        ranks: winners up to this rank are compared; all runs have as many.
        advance: is told how many layers of runs are done.
    """
    frames = []
    for layer in layers:
        of_layer = []
        for name, run in runs:
            of_layer.append(_of_layer(run, layer, ranks).assign(run=name))
            advance(1)
        frames.append(_followed(of_layer).assign(layer=layer))
    frame = pd.concat(frames, ignore_index=True)
    return pa.Table.from_pandas(frame[EVOLUTION.names], EVOLUTION, preserve_index=False)


def _of_layer(run: Store, layer: str, ranks: int) -> pd.DataFrame:
    """By map: its statistics, the set of its winners, and its strongest one with its projection."""
    stats = read_feature_maps(run, ["layer", "feature_map", "active", "max"])
    stats = stats[stats["layer"] == layer].set_index("feature_map").sort_index()
    winners = read_winners(run, layer, ["feature_map", "rank", "sample"]).to_pandas()
    sets = winners[winners["rank"] <= ranks].groupby("feature_map")["sample"].agg(frozenset)
    rows = read_projections(run, layer, range(len(stats)), 1, _STRONGEST)
    strongest = rows.set_index("feature_map").drop(columns="rank")
    return stats[["active", "max"]].join(sets.rename("winners")).join(strongest)


def _followed(checkpoints: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Each map through the checkpoints."""
    rows: list[dict[str, Any]] = []
    for feature_map in checkpoints[-1].index:
        states = [frame.loc[feature_map] for frame in checkpoints]
        last = _set(states[-1])
        shares = [len(_set(state) & last) / len(last) if last else np.nan for state in states]
        itself = next((n for n, share in enumerate(shares, 1) if share >= HALF), None)
        for number, (state, share) in enumerate(zip(states, shares, strict=True), 1):
            before = states[number - 2] if number > 1 else None
            rows.append(
                {
                    "feature_map": feature_map,
                    "checkpoint": number,
                    **state[["run", "active", "max", "sample"]].to_dict(),
                    "shared_with_last": share,
                    **_change(before, state),
                    "became_itself": itself,
                }
            )
    frame = pd.DataFrame(rows)
    return frame.astype({"sample": "Int64", "became_itself": "Int16", "jumped": "boolean"})


def _set(state: "pd.Series[Any]") -> frozenset[int]:
    found = state["winners"]
    return found if isinstance(found, frozenset) else frozenset()


def _change(before: "pd.Series[Any] | None", state: "pd.Series[Any]") -> dict[str, Any]:
    """Whether the strongest winner is another, and if it is not, how like its projections are."""
    if before is None or pd.isna(before["sample"]) or pd.isna(state["sample"]):
        return {"jumped": None, "likeness_to_previous": np.nan}
    if before["sample"] != state["sample"]:
        return {"jumped": True, "likeness_to_previous": np.nan}
    likeness = np.nan
    if (before[list(schema.SIDES)] == state[list(schema.SIDES)]).all():
        likeness = rank_correlation(opened(before["projection"]), opened(state["projection"]))
    return {"jumped": False, "likeness_to_previous": likeness}


def opened(picture: bytes) -> NDArray[np.float32]:
    """A projection as it is stored, (H, W, 3), with zero for mid-grey."""
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB")).astype(np.float32) - MID_GREY
