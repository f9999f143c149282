"""A run of any net in this process: `mine` with a cluster of one that is no Ray, then `project`."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from pipeline.cluster import connection
from pipeline.cluster import stages as cluster
from pipeline.cluster.stages import Target, Work
from pipeline.commands import mine as commands
from pipeline.core.nets.recipe import Recipe
from pipeline.data.demo.images import draw
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.store import Store
from pipeline.request import MineRequest, Precision, Workforce
from pipeline.run import Run, open_run
from pipeline.stages.merge import Merged, Share, Sources, merge_share
from pipeline.stages.mine import Miner, PartDone, mine_part
from pipeline.stages.project import ProjectSettings
from pipeline.stages.rescore import SecondLook, rescore_unit
from tests.stages.projected import project


def _mine(
    targets: Sequence[Target],
    dataset: Dataset,
    work: Sequence[Work],
    top_k: int,
    precision: Precision,
    workforce: Workforce,
) -> Iterator[PartDone]:
    prepare = Miner.exact if precision == "exact" else Miner.screening
    # as on its way to a worker
    miners = [prepare(target.recipe.make("cpu")) for target in targets]
    for part, which in work:
        runs = [targets[number].run for number in which]
        yield mine_part([miners[number] for number in which], dataset, part, runs, top_k)


def _rescore(
    target: Target, dataset: Dataset, units: Sequence[SecondLook], top_k: int, workforce: Workforce
) -> Iterator[int]:
    miner = Miner.exact(target.recipe.make("cpu"))
    for unit in units:
        yield rescore_unit(miner, unit, dataset, target.run, top_k)


def _merge(
    run: Store, sources: Sources, shares: Sequence[Share], workforce: Workforce
) -> Iterator[Merged]:
    for share in reversed(shares):
        yield merge_share(run, sources, share)


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on mining needs no Ray."""
    monkeypatch.setattr(connection, "connected", lambda _: nullcontext())
    monkeypatch.setattr(connection, "seats", lambda _: None)
    monkeypatch.setattr(commands, "require_in_sight", lambda _: None)
    monkeypatch.setattr(cluster, "mine", _mine)
    monkeypatch.setattr(cluster, "rescore", _rescore)
    monkeypatch.setattr(cluster, "merge", _merge)


def end_to_end(
    request: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int = 6
) -> Run:
    """A run over generated pictures, opened again after it was mined and projected.

    `request`: options of `mine`.
    """
    in_this_process(monkeypatch)
    folder, place = tmp_path / "pictures", str(tmp_path / "run")
    folder.mkdir()
    for index in range(count):
        draw(index).image.save(folder / f"{index}.png")
    usual = {"data": str(folder), "run": place, "top_k": 2}
    commands.mine_run(MineRequest.model_validate(usual | request))

    run = open_run(place)
    there = Recipe.of(run.net, run.layers).make("cpu")
    settings = ProjectSettings(arrays=True)
    project(run.store, there, open_dataset(str(folder)), run.layers, settings=settings)
    return open_run(place)
