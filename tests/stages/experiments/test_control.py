"""The control: as if each net of drawn weights had been projected by itself, written out."""

import io
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from torch import nn

from pipeline.core.likeness import rank_correlation, structural_similarity
from pipeline.core.nets.redrawn import cascade
from pipeline.core.render import projection_contrast
from pipeline.data.store import Store
from pipeline.stages.experiments import control
from pipeline.stages.experiments.control import ControlSettings
from tests.core.dense import Chain
from tests.stages import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS = ("first", "second")
LEVELS = {"first": 1, "second": 3}
SETTINGS = ControlSettings(seed=3)


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    folder = tmp_path_factory.mktemp("control") / "pictures"
    tiny.write(folder, 40)
    return folder, tiny.mined(tiny.opened(folder), 3)


def redrawn(lowest: str | None) -> nn.Sequential:
    """The net whose weights are drawn anew down to a layer."""
    module = tiny.module()
    graph = tiny.net_of(module).graph
    for layer in cascade(graph, SETTINGS.seed) if lowest else ():
        if layer.name == lowest:
            break
    return module


def test_each_winner_is_compared_with_itself_through_drawn_weights(mined) -> None:
    folder, run = mined
    net = tiny.net_of(tiny.module())
    before = deepcopy(net.graph.trunk.state_dict())
    winners = control.chosen_winners(run, LAYERS, maps=2, ranks=2)
    found, pictures = control.control_unit(net, winners, tiny.opened(folder), SETTINGS)
    assert all(
        (before[name] == tensor).all() for name, tensor in net.graph.trunk.state_dict().items()
    )
    rows = {(row["layer"], row["feature_map"], row["rank"]): row for row in winners.to_pylist()}
    assert len(found) == sum(1 if layer == "first" else 2 for layer, _, _ in rows)
    chains = {name: redrawn(name) for name in (None, *LAYERS)}
    for row in found.to_pylist():
        winner = rows[row["layer"], row["feature_map"], row["rank"]]
        top, left, bottom, right = (winner[side] for side in ("top", "left", "bottom", "right"))
        image = tiny.tensor(winner["sample"]).double().numpy()
        own, other = (
            Chain(chains[lowest], image).project(
                LEVELS[row["layer"]], winner["feature_map"], winner["y"], winner["x"], "sum", 1.0
            )[:, top:bottom, left:right]
            for lowest in (None, row["drawn_down_to"])
        )
        for name, change in (("", np.asarray), ("_of_magnitudes", np.abs)):
            wanted = rank_correlation(change(own).round(4), change(other).round(4))
            got = row[f"rank_correlation{name}"]
            assert np.isnan(wanted) if got is None else got == pytest.approx(wanted, abs=0.02)
        wanted = structural_similarity(projection_contrast(own), projection_contrast(other))
        assert row["structural_similarity"] == pytest.approx(wanted, abs=0.01)
    shown = pictures.to_pylist()
    assert {(row["layer"], row["layers_drawn"]) for row in shown} == {
        ("first", 0), ("first", 1), ("second", 0), ("second", 1), ("second", 2),
    }  # fmt: skip
    for row in shown:
        with Image.open(io.BytesIO(row["projection"])) as picture:
            assert picture.mode == "RGB"
        assert (row["patch"] is not None) == (row["layers_drawn"] == 0)


def test_units_are_of_whole_images_and_do_not_change_a_thing(mined, monkeypatch) -> None:
    folder, run = mined
    net = tiny.net_of(tiny.module())
    winners = control.chosen_winners(run, LAYERS, maps=3, ranks=3)
    keys = [(name, "ascending") for name in ("layer", "feature_map", "rank", "layers_drawn")]

    def done() -> pa.Table:
        tables = [
            control.control_unit(net, unit, tiny.opened(folder), SETTINGS)[0]
            for unit in control.units(winners)
        ]
        return pa.concat_tables(tables).sort_by(keys)

    whole = done()
    monkeypatch.setattr(control, "_IMAGES_IN_UNIT", 2)
    assert len(control.units(winners)) > 3
    assert done().equals(whole)
    assert not done().equals(
        pa.concat_tables(
            [control.control_unit(net, winners, tiny.opened(folder), replace(SETTINGS, seed=4))[0]]
        ).sort_by(keys)
    )


def test_maps_are_evenly_spaced_among_those_alive(mined) -> None:
    _, run = mined
    everything = control.chosen_winners(run, ["first"], maps=99, ranks=9)
    assert set(everything["feature_map"].to_pylist()) == {0, 2, 3}  # map 1 is dead
    assert everything["shown"].to_pylist().count(True) == 1
    two = control.chosen_winners(run, ["first"], maps=2, ranks=1)
    assert two["feature_map"].to_pylist() == [0, 3]
    assert set(two["rank"].to_pylist()) == {1}
