"""A run of any net in this process: what the cluster's workers do, one after the other."""

from pathlib import Path

from pipeline import schema
from pipeline.core.recipe import Recipe
from pipeline.data import demo
from pipeline.data.shards import open_dataset
from pipeline.data.store import Store
from pipeline.data.weights import Weighted, load_net
from pipeline.run import Run, open_run
from pipeline.stages.merge import merge
from pipeline.stages.mine import mine_part
from pipeline.stages.project import ProjectSettings, project_task, tasks
from tests.stages.tiny import spec_of


def pictures(folder: Path, count: int = 6) -> Path:
    """Generated pictures in a folder."""
    folder.mkdir()
    for index in range(count):
        demo.draw(index).image.save(folder / f"{index}.png")
    return folder


def run_of(weighted: Weighted, folder: Path, place: Path, layers: list[str], top_k: int = 2) -> Run:
    """Mine and project; the net is sent on its way as to a worker of the cluster."""
    dataset, run = open_dataset(str(folder)), Store(str(place))
    net = Recipe.of(weighted.net, layers).make("cpu")
    spec = spec_of(net, dataset, top_k).model_copy(
        update={"weights": weighted.weights, "weights_digest": weighted.digest}
    )
    run.write(schema.RUN, spec.model_dump_json().encode())
    parts = dataset.parts()
    for part in parts:
        mine_part(net, dataset, part, run, top_k)
    merge(run, spec, [part.name for part in parts])
    for table in tasks(run, layers):
        project_task(net, dataset, run, table, ProjectSettings(arrays=True))
    return open_run(str(place))


def end_to_end(name: str, weights: str | None, tmp_path: Path, layers: list[str]) -> Run:
    """A run of a net over generated pictures."""
    weighted = load_net(name, weights)
    return run_of(weighted, pictures(tmp_path / "pictures"), tmp_path / "run", layers)
