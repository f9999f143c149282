"""A run of any net in this process: `mine`, then `project`."""

from pathlib import Path

import pytest

from pipeline.cluster import session
from pipeline.commands import mine as commands
from pipeline.core.nets.recipe import Recipe
from pipeline.data.demo.images import draw
from pipeline.data.formats.dataset import open_dataset
from pipeline.request import MineRequest
from pipeline.run import Run, open_run
from pipeline.stages.project import ProjectSettings
from tests.stages.projected import project


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on threads of this process do the work, whatever it has connected to before."""
    screened_anyhow(monkeypatch)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(session, "_is_on_ray", lambda: False)


def screened_anyhow(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on reduced precision is what is asked for, whether it pays or not."""
    monkeypatch.setattr("pipeline.commands.precision.why_exact", lambda *_: None)
    # else all images of few are kept whole, and looked at again for that
    monkeypatch.setattr("pipeline.core.heaps.statistics._KEPT", 3)


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
