"""Maps of two runs, against a search through all pairs."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.core.spectrum import band_shares
from pipeline.data.store import Store
from pipeline.data.weights.load import load_net
from pipeline.stages.experiments import matches
from pipeline.stages.experiments.matches import Mined
from tests.atlas import synthetic_run

LAYERS = {"conv1": (12, 11, 4), "conv2": (9, 51, 8)}


def run_of(name: str, seed: int) -> Mined:
    store = synthetic_run.write(Store(f"memory://matches-{name}-{seed}"), LAYERS, 9, seed=seed)
    return Mined(name, load_net("demo").net, store, list(LAYERS), 7)


@pytest.fixture(scope="module")
def runs() -> tuple[Mined, Mined]:
    return run_of("one", 1), run_of("other", 2)


def winners(run: Mined) -> dict[tuple[str, int], set[int]]:
    found: dict[tuple[str, int], set[int]] = {}
    for layer in LAYERS:
        table = run.store.read_table(schema.winners_name(layer)).to_pylist()
        for row in (row for row in table if row["rank"] <= run.ranks):
            found.setdefault((layer, row["feature_map"]), set()).add(row["sample"])
    return found


def test_the_nearest_map_is_the_best_of_all_pairs(runs: tuple[Mined, Mined]) -> None:
    one, other = runs
    table = matches.matches(one, other).to_pandas()
    assert len(table) == 12 + 9
    own, others = winners(one), winners(other)
    matched = 0
    for row in table.to_dict("records"):
        mine = own.get((row["layer"], row["feature_map"]), set())
        scores = {key: len(mine & theirs) / len(mine | theirs) for key, theirs in others.items()}
        best = max(scores.values())
        if best == 0:
            assert pd.isna(row["jaccard"])
            continue
        matched += 1
        assert row["jaccard"] == pytest.approx(best)
        first = next(key for key, score in sorted(scores.items()) if score == best)
        assert (row["other_layer"], row["other_map"]) == first
        assert row["shared"] == len(mine & others[first])
    assert matched > 5


def means(run: Mined) -> pd.DataFrame:
    frames = []
    for layer in LAYERS:
        rows = run.store.read_table(schema.of_layer(schema.CLASSES, layer)).to_pandas()
        frames.append(rows.assign(layer=layer))
    table = pd.concat(frames)
    return table.pivot_table(index=["layer", "feature_map"], columns="label", values="mean")


def test_by_class_it_is_the_one_with_the_largest_correlation(runs: tuple[Mined, Mined]) -> None:
    one, other = runs
    rng = np.random.default_rng(0)
    for run in runs:  # the synthetic run's means are the same for all maps
        for layer in LAYERS:
            name = schema.of_layer(schema.CLASSES, layer)
            table = run.store.read_table(name)
            drawn = pa.array(rng.uniform(0, 5, len(table)))
            place = table.column_names.index("mean")
            run.store.write_table(name, table.set_column(place, "mean", drawn))
    table = matches.matches(one, other).to_pandas().set_index(["layer", "feature_map"])
    own, others = means(one), means(other)
    for key in own.index:
        wanted = {its: np.corrcoef(own.loc[key], others.loc[its])[0, 1] for its in others.index}
        best = max(wanted, key=lambda its: wanted[its])
        row = table.loc[key]
        assert (row["class_layer"], row["class_map"]) == best
        assert row["class_correlation"] == pytest.approx(wanted[best])


def test_a_run_is_its_own_next_of_kin(runs: tuple[Mined, Mined]) -> None:
    one, _ = runs
    table = matches.matches(one, one).to_pandas().dropna(subset=["jaccard"])
    assert (table["jaccard"] == 1).all()
    assert (table["other_map"] == table["feature_map"]).mean() > 0.8  # ties go to the lower one


def test_spectra_are_means_over_projections_and_filters(runs: tuple[Mined, Mined]) -> None:
    one, _ = runs
    table = matches.spectra(one).to_pandas().set_index("layer")
    assert table.loc["conv1", "dead"] == 1  # of the synthetic run
    filters = one.net.graph.trunk.get_parameter("features.0.weight").detach().numpy()
    low = np.mean([band_shares(each)[0] for each in filters])
    assert table.loc["conv1", "filters_low"] == pytest.approx(low)
    assert np.isnan(table.loc["conv2", "filters_low"])
    pictures = matches.strongest(one.store, "conv2", 64)
    shares = [band_shares(picture.transpose(2, 0, 1)) for picture in pictures.values()]
    assert len(pictures) == 9
    assert table.loc["conv2", ["low", "high"]].tolist() == pytest.approx(np.mean(shares, 0))
    assert list(matches.strongest(one.store, "conv2", 3)) == [0, 4, 8]
