"""The whole pipeline on generated images and the bundled net."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pipeline.cluster import session
from pipeline.commands.mine import mine_run
from pipeline.commands.project import project_run
from pipeline.commands.publish import publish_run
from pipeline.data.demo.images import CLASS_NAMES, draw, label_of, shard_bytes
from pipeline.data.object_parts import Parted, as_csv
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.request import MineRequest, ProjectRequest, PublishRequest
from pipeline.terminal import progress

_SHARD = 128
"""Images in one."""

_FACES = 10
"""Pictures of which it is told where their parts are, for `correspondence`."""


def make_demo(out: Path, images: int, workers: int | None = None) -> str:
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
    Store(out).write("parts.csv", as_csv(list(islice(_faces(images), _FACES))))
    run = str(out / "run")
    with session.connected(pictures=images):
        mine_run(
            MineRequest(data=data.url, run=run, net="demo", class_names="net", workers=workers)
        )
        project_run(ProjectRequest(run=run, workers=workers))
        _, atlas = publish_run(PublishRequest(run=run, workers=workers))
    return atlas


def _faces(images: int) -> Iterator[Parted]:
    """The faces among so many images, as samples of the run, and where their parts are."""
    for index in range(images):
        if CLASS_NAMES[label_of(index)] == "faces":
            yield Parted(str(index), draw(index).parts)


def _draw(data: Store, images: int) -> None:
    """Draw the shards that are not there yet; their names tell which images they hold."""
    starts = range(0, images, _SHARD)
    numbers = [range(start, min(images, start + _SHARD)) for start in starts]
    shards = {f"demo-{shard[0]:06d}-{shard[-1]:06d}.tar": shard for shard in numbers}
    there = data.list()
    if foreign := [name for name in there if name not in shards]:
        raise RequestError(
            f"{data.url} holds {foreign[0]}, which is not one of this demo's {images} images; "
            "name another --out."
        )
    with progress("drawing, images", images) as advance:
        for name, shard in shards.items():
            if name not in there:
                data.write(name, shard_bytes(shard))
            advance(len(shard))
