"""Checkpoints of the tiny net: everything against sets and sorting."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pipeline.core.likeness import rank_correlation
from pipeline.data.store import Store
from pipeline.data.stored.results import read_projections
from pipeline.stages.experiments.evolution import evolution, opened
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from tests.stages import tiny
from tests.stages.projected import project

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT, TOP_K, RANKS, LAYERS = 40, 6, 4, ("first", "second")
Mined = list[tuple[str, Store, nn.Sequential]]


def trained(steps: int) -> nn.Sequential:
    """The tiny net, some of whose filters differ by a few whole numbers; map 1 lives at first."""
    module = tiny.module()
    rng = np.random.default_rng(steps)
    with torch.no_grad():
        for conv in (module[0], module[3]):
            change = rng.integers(-steps, steps + 1, conv.weight.shape)
            change[conv.weight.shape[0] - 1] = 0  # one map stays as it is, but for its inputs
            conv.weight += torch.from_numpy(change)
        if steps == 2:
            module[0].weight[1] = 1
    return module


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Mined:
    folder = tmp_path_factory.mktemp("evolution") / "pictures"
    tiny.write(folder, COUNT)
    dataset = tiny.opened(folder)
    runs = []
    for steps in (2, 1, 0):
        module = trained(steps)
        net, run = tiny.net_of(module), Store(f"memory://evolution-{steps}")
        parts = dataset.parts()
        for part in parts:
            mine_part([Miner.exact(net)], dataset, part, [run], TOP_K)
        merge(run, tiny.spec_of(net, dataset, TOP_K), [part.name for part in parts])
        project(run, net, dataset, LAYERS)
        runs.append((f"epoch-{2 - steps}", run, module))
    return runs


def test_maps_are_followed_to_what_they_become(mined: Mined) -> None:
    table = evolution([(name, run) for name, run, _ in mined], LAYERS, RANKS).to_pandas()
    everything = [tiny.Everything.of(module, COUNT) for _, _, module in mined]
    kinds = set()
    for layer in LAYERS:
        won = [each.winners(layer, RANKS) for each in everything]
        for feature_map in range(everything[0].maps[layer].shape[1]):
            sets = [{row[5] for row in rows if row[0] == feature_map} for rows in won]
            first = [
                next((row[5] for row in rows if row[:2] == (feature_map, 1)), None) for rows in won
            ]
            of_map = table[(table["layer"] == layer) & (table["feature_map"] == feature_map)]
            assert of_map["checkpoint"].tolist() == [1, 2, 3]
            assert of_map["run"].tolist() == [name for name, _, _ in mined]
            last = sets[-1]
            shares = [len(each & last) / len(last) if last else np.nan for each in sets]
            np.testing.assert_allclose(of_map["shared_with_last"], shares)
            itself = next((n for n, share in enumerate(shares, 1) if share >= 0.5), None)
            assert (
                of_map["became_itself"].isna().all()
                if itself is None
                else (of_map["became_itself"] == itself).all()
            )
            kinds.add(itself)
            for place, row in enumerate(of_map.to_dict("records")):
                assert (None if pd.isna(row["sample"]) else row["sample"]) == first[place]
                known = place and first[place] is not None and first[place - 1] is not None
                expected = first[place] != first[place - 1] if known else None
                assert row["jumped"] is expected
    assert kinds >= {None, 1, 3}


def test_projections_of_the_same_winner_are_compared(mined: Mined) -> None:
    table = evolution([(name, run) for name, run, _ in mined], LAYERS, RANKS).to_pandas()
    known = table[table["likeness_to_previous"].notna()]
    assert len(known) > 1
    assert not known["jumped"].any()
    for row in known.to_dict("records"):
        pictures = [
            read_projections(mined[n][1], row["layer"], [row["feature_map"]], 1).iloc[0]
            for n in (row["checkpoint"] - 2, row["checkpoint"] - 1)
        ]
        one, other = (opened(each["projection"]) for each in pictures)
        assert row["likeness_to_previous"] == pytest.approx(rank_correlation(one, other))
