"""What the commands after mining do, from a request to a finished result: checked first, then done.

The terminal's side is `cli`; jobs and notebooks may call these too.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from pipeline import schema
from pipeline.atlas.publish import Published, publish_pages, units
from pipeline.cluster import connection
from pipeline.cluster import stages as cluster
from pipeline.commands.mine import mine
from pipeline.config import MineRequest, choose_layers
from pipeline.data.demo.images import shard_bytes
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.progress import progress
from pipeline.run import Run
from pipeline.stages.project import ProjectSettings, missing, tasks

DEMO_IMAGES = 2048
_DEMO_SHARD = 128
_SETTINGS = TypeAdapter(ProjectSettings)


def project(
    url: str,
    *,
    layers: Sequence[str] | None = None,
    rank_limit: int | None = None,
    settings: ProjectSettings | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> int:
    """Stage 2: project the winners that have no projection yet.

    Returns:
        How many were projected now.

    Raises:
        RequestError: the run is not mined, has changed underneath, or was projected otherwise.
        IncompleteError: some could not be; the same request again does only those.
        NumericsError: an activation does not come out as it was mined.
    """
    run = Run(url)
    chosen = choose_layers(run.layers, layers, "The run")
    settings = settings or ProjectSettings()
    waiting = tasks(run.store, chosen, rank_limit)
    _require_same_settings(run.store, settings)
    if not waiting:
        return 0
    dataset = dataset_of(run)
    total = sum(map(missing, waiting))
    with connection.connected(address):
        connection.seats(workers)
        run.store.write(schema.PROJECTION_SETTINGS, _SETTINGS.dump_json(settings))
        with progress("projecting, winners", total) as advance:
            for count in cluster.project(
                run.net, run.layers, dataset, waiting, run.store, settings, workers
            ):
                advance(count)
    return total


def _require_same_settings(run: Store, settings: ProjectSettings) -> None:
    if not run.exists(schema.PROJECTION_SETTINGS):
        return
    made = _SETTINGS.validate_json(run.read(schema.PROJECTION_SETTINGS))
    for name, value in asdict(made).items():
        if value != getattr(settings, name):
            raise RequestError(
                f"{run.url} holds projections made with {name} = {value}, not "
                f"{getattr(settings, name)}; use the same, or remove {run.url}/projections and "
                f"{run.url}/{schema.PROJECTION_SETTINGS}."
            )


def dataset_of(run: Run) -> Dataset:
    """The dataset that a run was mined from.

    Raises:
        RequestError: it is gone, or not what it was.
    """
    spec = run.spec
    dataset = open_dataset(spec.data, format=spec.format)
    if dataset.fingerprint != spec.fingerprint:
        raise RequestError(
            f"{spec.data} is not what {run.store.url} was mined from: files were added, removed "
            "or changed; put them back, or mine into another --run."
        )
    return dataset


def publish(
    url: str, dest: str | None = None, *, workers: int | None = None, address: str | None = None
) -> tuple[Published, str]:
    """Compose the atlas and its web pages.

    Returns:
        What was published, and where.

    Raises:
        RequestError: there is no run, or it has no projections yet.
    """
    run = Run(url)
    target = Store(dest or f"{run.store.url}/{schema.ATLAS}")
    waiting = units(run.store)
    total = sum(unit.last - unit.first for unit in waiting)
    with connection.connected(address):
        connection.seats(workers, accelerated=False)
        with progress("publishing, feature maps", total) as advance:
            for maps in cluster.publish(run.store, target, waiting, workers):
                advance(maps)
    return publish_pages(run.store, target), target.url


def make_demo(out: Path, images: int = DEMO_IMAGES, workers: int | None = None) -> str:
    """The whole pipeline on generated images and the bundled net.

    Args:
        out: a folder for the images, the run and its atlas.
        images: how many to draw.
        workers: as in the stages.

    Returns:
        Where the atlas is.

    Raises:
        RequestError: the folder holds other images.
    """
    data = Store(out / "images")
    _draw(data, images)
    run = str(out / "run")
    with connection.connected():
        mine(MineRequest(data=data.url, run=run, net="demo", workers=workers))
        project(run, workers=workers)
        _, atlas = publish(run, workers=workers)
    return atlas


def _draw(data: Store, images: int) -> None:
    """Draw the shards that are not there yet; their names tell which images they hold."""
    shards = {
        f"demo-{some.start:06d}-{some.stop - 1:06d}.tar": some
        for first in range(0, images, _DEMO_SHARD)
        if (some := range(first, min(images, first + _DEMO_SHARD)))
    }
    there = data.list()
    if others := [name for name in there if name not in shards]:
        raise RequestError(
            f"{data.url} holds {others[0]}, which is not one of this demo's {images} images; "
            "name another --out."
        )
    with progress("drawing, images", images) as advance:
        for name, some in shards.items():
            if name not in there:
                data.write(name, shard_bytes(some))
            advance(len(some))
