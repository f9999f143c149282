"""A run of any net in this process: `mine` with a cluster of one that is no Ray, then `project`."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from pipeline import cluster, commands
from pipeline.config import MineRequest
from pipeline.core.networks import Net
from pipeline.core.recipe import Recipe
from pipeline.data import demo
from pipeline.data.samples import Part
from pipeline.data.shards import Dataset, open_dataset
from pipeline.data.store import Store
from pipeline.run import Run, open_run
from pipeline.stages.mine import PartDone, mine_part
from pipeline.stages.project import ProjectSettings, project_task, tasks


def _mine(
    net: Net,
    layers: Sequence[str],
    dataset: Dataset,
    parts: Sequence[Part],
    run: Store,
    top_k: int,
    workers: int | None,
) -> Iterator[PartDone]:
    there = Recipe.of(net, layers).make("cpu")  # as on its way to a worker
    for part in parts:
        yield mine_part(there, dataset, part, run, top_k)


def end_to_end(
    request: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int = 6
) -> Run:
    """A run over generated pictures, opened again after it was mined and projected.

    `request`: options of `mine`.
    """
    monkeypatch.setattr(cluster, "connected", lambda _: nullcontext())
    monkeypatch.setattr(cluster, "seats", lambda _: None)
    monkeypatch.setattr(cluster, "mine", _mine)
    folder, place = tmp_path / "pictures", str(tmp_path / "run")
    folder.mkdir()
    for index in range(count):
        demo.draw(index).image.save(folder / f"{index}.png")
    usual = {"data": str(folder), "run": place, "top_k": 2}
    commands.mine(MineRequest.model_validate(usual | request))

    run = open_run(place)
    there = Recipe.of(run.net, run.layers).make("cpu")
    for table in tasks(run.store, run.layers):
        settings = ProjectSettings(arrays=True)
        project_task(there, open_dataset(str(folder)), run.store, table, settings)
    return open_run(place)
