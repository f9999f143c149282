"""A run whose dataset grows by shards: in the end all is as if everything had been mined."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import schema
from pipeline.commands import mine as mining
from pipeline.core.nets.recipe import Recipe
from pipeline.data.demo.images import draw, shard_bytes
from pipeline.data.formats.dataset import open_dataset
from pipeline.errors import RequestError
from pipeline.request import MineRequest
from pipeline.run import Run
from pipeline.stages.project import ProjectSettings, project_unit
from pipeline.stages.waiting import missing, waiting
from tests.data.without_ray import in_this_process
from tests.killed import KilledError, kill_after
from tests.stages.projected import project

LAYERS = ("conv1", "conv5")
SHARDS = ("b", "d", "a", "c", "e")
"""In the order in which they come."""

pytestmark = pytest.mark.usefixtures("one_thread", "no_ray")


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    (folder := tmp_path / "shards").mkdir()
    return folder


def grow(shards: Path, names: str) -> None:
    for name in names:
        first = 30 * SHARDS.index(name)
        (shards / f"{name}.tar").write_bytes(shard_bytes(range(first, first + 30)))


def mine(shards: Path, place: Path, **more: object) -> Run:
    usual = {"net": "demo", "layers": list(LAYERS), "top_k": 4, "class_names": "net"}
    usual |= {"data": str(shards), "run": str(place)}
    return mining.mine_run(MineRequest.model_validate(usual | more))


def project_all(run: Run, rank_limit: int | None = None) -> int:
    net = Recipe.of(run.net, run.layers).make("cpu")
    return project(run.store, net, open_dataset(run.spec.data), run.layers, rank_limit)


def winners(run: Run) -> pd.DataFrame:
    return run.winners().reset_index(drop=True)


def projections(run: Run) -> pd.DataFrame:
    rows = pd.read_parquet(f"{run.store.url}/projections").astype({"layer": "str"})
    return rows.sort_values(["layer", "feature_map", "rank"], ignore_index=True)


def assert_same(run: Run, other: Run) -> None:
    pd.testing.assert_frame_equal(winners(run), winners(other), check_exact=True)
    pd.testing.assert_frame_equal(run.feature_maps(), other.feature_maps(), check_exact=True)
    assert run.spec.fingerprint == other.spec.fingerprint
    for folder in ("distributions", "classes", "examples"):
        assert_same_tables(run, other, folder)


def assert_same_tables(run: Run, other: Run, folder: str) -> None:
    one, two = (pd.read_parquet(f"{each.store.url}/{folder}") for each in (run, other))
    assert len(one)
    pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_the_result_is_that_of_mining_everything(
    shards: Path, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that come before those that are there, too: their samples are counted anew."""
    place = tmp_path / "run"
    grow(shards, "bd")
    mine(shards, place, precision=precision)
    stage = place / ("heaps" if precision == "exact" else "screen")
    before = {path: path.stat().st_mtime_ns for path in stage.iterdir()}
    for names in ("ac", "e"):
        grow(shards, names)
        run = mine(shards, place, precision=precision, extend=True)
        assert_same(run, mine(shards, tmp_path / f"all {names}", precision=precision))
        assert {path: path.stat().st_mtime_ns for path in before} == before
    marker = place / "feature_maps.parquet"
    written = marker.stat().st_mtime_ns
    mine(shards, place, precision=precision, extend=True)
    assert marker.stat().st_mtime_ns == written, "a run that is up to date was merged again"


def test_other_examples_are_chosen_without_mining_again(shards: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    grow(shards, "bd")
    mine(shards, place)
    before = {path: path.stat().st_mtime_ns for path in (place / "heaps").iterdir()}
    run = mine(shards, place, examples=(0.75,))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    rows = pd.read_parquet(place / "examples")
    assert set(rows["quantile"]) == {0.75}
    assert_same(run, mine(shards, tmp_path / "other", examples=(0.75,)))
    mine(shards, place, examples=())
    assert not len(pd.read_parquet(place / "examples"))


def test_projections_of_examples_are_those_of_projecting_everything(
    shards: Path, tmp_path: Path
) -> None:
    grow(shards, "bd")
    run = mine(shards, tmp_path / "run", examples=(0.9, 0.5))
    assert project_examples(run) == len(pd.read_parquet(tmp_path / "run" / "examples"))
    grow(shards, "ac")
    run = mine(shards, tmp_path / "run", examples=(0.9, 0.5), extend=True)
    everything = mine(shards, tmp_path / "all", examples=(0.9, 0.5))
    count = project_examples(everything)
    project_all(run)
    project_all(everything)
    assert project_examples(run) <= count
    assert project_examples(run) == 0
    one, two = (
        pd.read_parquet(f"{each.store.url}/example_projections")
        .sort_values(["layer", "feature_map", "rank"], ignore_index=True)
        .astype({"layer": "str"})
        for each in (run, everything)
    )
    assert len(one) == count
    assert set(one["quantile"]) == {np.float32(0.9), np.float32(0.5)}
    pictures = ["projection", "patch", "picture"]
    assert not one[pictures].isna().any(axis=None)
    one, two = (each.drop(columns=pictures) for each in (one, two))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)  # computed anew, beside other images


def project_examples(run: Run) -> int:
    net = Recipe.of(run.net, run.layers).make("cpu")
    dataset = open_dataset(run.spec.data)
    return project(run.store, net, dataset, run.layers, pick=schema.EXEMPLARY)


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("compacted", [True, False])
def test_projections_of_winners_that_stay_are_kept(
    shards: Path, tmp_path: Path, limit: int | None, compacted: bool
) -> None:
    grow(shards, "bd")
    run = mine(shards, tmp_path / "run")
    old = winners(run)
    if compacted:
        project_all(run, limit)
    else:  # interrupted before that
        net, dataset = Recipe.of(run.net, run.layers).make("cpu"), open_dataset(run.spec.data)
        for unit in waiting(run.store, run.layers, limit).units:
            project_unit(net, unit, dataset, run.store, ProjectSettings())
    grow(shards, "ace")
    run = mine(shards, tmp_path / "run", extend=True)
    new = winners(run)
    key = ["layer", "feature_map", "shard", "key"]
    done = old if limit is None else old[old["rank"] <= limit]
    stay = len(new.merge(done[key], on=key))
    assert 0 < stay < len(new)
    todo = waiting(run.store, run.layers)
    assert sum(map(missing, todo.units)) == len(new) - stay
    assert project_all(run) == len(new) - stay
    everything = mine(shards, tmp_path / "all")
    project_all(everything)
    made, right = projections(run), projections(everything)
    pd.testing.assert_frame_equal(
        made.drop(columns=["projection", "activation"]),
        right.drop(columns=["projection", "activation"]),
    )
    assert set(run.store.list("projections")) == set(everything.store.list("projections"))
    assert not run.store.list("projected")
    assert waiting(run.store, run.layers).blocks == []


def test_what_was_exchanged_or_taken_away_is_named(shards: Path, tmp_path: Path) -> None:
    grow(shards, "bd")
    run = mine(shards, tmp_path / "run")
    before = run.store.read("run.json")
    grow(shards, "a")
    (shards / "b.tar").write_bytes(shard_bytes(range(20)))
    with pytest.raises(RequestError, match=r"does not have, or not any more as they were: b-\w+; "):
        mine(shards, tmp_path / "run", extend=True)
    (shards / "b.tar").unlink()
    with pytest.raises(RequestError, match=r"as they were: b-\w+; put them back"):
        mine(shards, tmp_path / "run", extend=True)
    with pytest.raises(RequestError, match=r"is not what .* was mined from"):
        mine(shards, tmp_path / "run")
    with pytest.raises(RequestError, match="top k"):
        mine(shards, tmp_path / "run", extend=True, top_k=5)
    assert run.store.read("run.json") == before
    assert run.store.exists("feature_maps.parquet")


def test_what_was_skipped_is_mined_again_once_it_is_mended(shards: Path, tmp_path: Path) -> None:
    grow(shards, "bda")
    whole = (shards / "d.tar").read_bytes()
    (shards / "d.tar").write_bytes(whole[: len(whole) // 2])
    run = mine(shards, tmp_path / "run")
    assert len(run.skipped()) == 1
    project_all(run)
    kept = run.store.read(next(name for name in run.store.list("heaps") if "/b-" in name))
    (shards / "d.tar").write_bytes(whole)
    with pytest.raises(RequestError, match=r"as they were: d-\w+; put them back"):
        mine(shards, tmp_path / "run", extend=True)
    run = mine(shards, tmp_path / "run", retry_skipped=True)
    assert_same(run, mine(shards, tmp_path / "all"))
    assert run.skipped().empty
    assert kept == run.store.read(next(name for name in run.store.list("heaps") if "/b-" in name))
    assert 0 < project_all(run) < len(winners(run))
    assert len(projections(run)) == len(winners(run))


def test_what_is_skipped_again_stays_skipped(tmp_path: Path) -> None:
    """In an image folder too, where nothing has changed."""
    (folder := tmp_path / "pictures").mkdir()
    for index in range(5):
        draw(index).image.save(folder / f"{index}.png")
    (folder / "2a.png").write_bytes(b"no picture")
    run = mine(folder, tmp_path / "run")
    before = winners(run)
    again = mine(folder, tmp_path / "run", retry_skipped=True)
    assert again.skipped()["key"].tolist() == ["2a.png"]
    pd.testing.assert_frame_equal(winners(again), before, check_exact=True)


def test_an_image_folder_cannot_be_extended(tmp_path: Path) -> None:
    (folder := tmp_path / "pictures").mkdir()
    for index in range(3):
        draw(index).image.save(folder / f"{index}.png")
    mine(folder, tmp_path / "run")
    draw(3).image.save(folder / "3.png")
    with pytest.raises(RequestError, match="is an image folder, and only shards are told apart"):
        mine(folder, tmp_path / "run", extend=True)


def test_an_interrupted_extension_goes_on(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended at any of its writes or removals."""
    grow(shards, "bd")
    run = mine(shards, tmp_path / "run")
    project_all(run)
    grow(shards, "ac")
    right = mine(shards, tmp_path / "all")

    for steps in range(100):
        copy = tmp_path / f"copy {steps}"
        shutil.copytree(tmp_path / "run", copy)
        with monkeypatch.context() as patch:
            kill_after(steps, patch)
            try:
                mine(shards, copy, extend=True)
                break
            except KilledError:
                pass
        again = mine(shards, copy, extend=True)
        assert_same(again, right)
        project_all(again)
        assert len(projections(again)) == len(winners(again))
    assert steps > 8
