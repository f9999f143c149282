"""What each command does, from a request to a finished result: checked first, then done.

The terminal's side is `cli`; jobs and notebooks may call these too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from pipeline import cluster, schema
from pipeline.config import LayerSpec, MineRequest, RunSpec, versions
from pipeline.core.networks import Net
from pipeline.core.receptive_field import receptive_field
from pipeline.data import demo
from pipeline.data.class_names import ClassNames, load_class_names
from pipeline.data.shards import Dataset, open_dataset
from pipeline.data.store import Store
from pipeline.data.weights import Weighted, load_net
from pipeline.errors import RequestError, WriteError
from pipeline.progress import progress
from pipeline.run import Run, read_spec, resolve_layers
from pipeline.stages.merge import merge
from pipeline.stages.project import ProjectSettings, tasks
from pipeline.stages.publish import Published, publish_pages, units

DEMO_IMAGES = 2048
_DEMO_SHARD = 128
_NO_PLACE = (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)
_SETTINGS = TypeAdapter(ProjectSettings)


@dataclass(frozen=True)
class MineResult:
    """What a mined run holds.

    Attributes:
        images: how many were used.
        skipped: how many samples could not be, listed in the run's ``skipped/``.
        winners: rows in all.
        dead: feature maps that no image activates.
        maps: feature maps in all.
    """

    images: int
    skipped: int
    winners: int
    dead: int
    maps: int


def mine(request: MineRequest) -> MineResult:
    """Stage 1 and the merge; goes on where an interrupted run stopped.

    Raises:
        RequestError: the request is wrong, or disagrees with the run.
        IncompleteError: parts are missing; the same request again does only those.
        NumericsError: an activation is not finite.
    """
    run = Store(request.run)
    weighted = load_net(request.net, request.weights, request.colour_order, request.mean)
    names = [layer.name for layer in weighted.net.graph.layers]
    _refuse_opaque(weighted.net, request.layers or ())
    layers = resolve_layers(names, request.layers, f"Net {request.net}")
    dataset = open_dataset(
        request.data, format=request.format, class_names=_class_names(request, weighted.net)
    )
    spec = _spec(request, weighted, dataset, layers)
    if run.exists(schema.RUN):
        spec.require_same(read_spec(run), run.url)
    if not run.exists(schema.FEATURE_MAPS):
        _mine_parts(request, weighted.net, spec, dataset, run)
        merge(run, spec, [part.name for part in dataset.parts()])
    return _mined(Run(run.url))


def _mine_parts(
    request: MineRequest, net: Net, spec: RunSpec, dataset: Dataset, run: Store
) -> None:
    parts = dataset.parts()
    done = set(run.list(schema.HEAPS))
    waiting = [part for part in parts if schema.heap_name(part.name) not in done]
    if not waiting:
        return
    layers = [layer.name for layer in spec.layers]
    with cluster.connected(request.address):
        cluster.seats(request.workers)  # a request that is refused leaves nothing behind
        _begin(run, spec)
        with progress("mining, parts", len(parts), len(parts) - len(waiting)) as advance:
            for _ in cluster.mine(
                net, layers, dataset, waiting, run, request.top_k, request.workers
            ):
                advance(1)


def _begin(run: Store, spec: RunSpec) -> None:
    """Write what the run is, where nothing is yet.

    Raises:
        RequestError: there is no such place, or writing is not allowed there.
        WriteError: no room.
    """
    if run.exists(schema.RUN):
        return
    try:
        run.write(schema.RUN, spec.model_dump_json(indent=2).encode())
    except WriteError as error:
        if isinstance(error.__cause__, _NO_PLACE):
            raise RequestError(
                f"Nothing can be written at {run.url} ({error.__cause__}); name another --run."
            ) from error
        raise


def _refuse_opaque(net: Net, wanted: Sequence[str]) -> None:
    for name in wanted:
        if name in net.graph.opaque:
            raise RequestError(
                f"Layer {name} of {net.name} cannot be projected: the deconvnet has no way down "
                f"through {net.graph.opaque[name]}; choose layers below it."
            )


def _class_names(request: MineRequest, net: Net) -> ClassNames | None:
    if request.class_names is not None:
        return load_class_names(request.class_names)
    return ClassNames.of(net.categories) if net.categories else None


def _spec(
    request: MineRequest, weighted: Weighted, dataset: Dataset, layers: Sequence[str]
) -> RunSpec:
    net = weighted.net
    return RunSpec(
        net=net.name,
        weights=weighted.weights,
        weights_digest=weighted.digest,
        classes=net.classes,
        preprocessing=net.preprocessing,
        layers=tuple(
            LayerSpec(
                name=layer.name,
                maps=layer.maps,
                size=layer.size,
                receptive_field=receptive_field(net.graph, layer),
            )
            for layer in map(net.graph.layer, layers)
        ),
        top_k=request.top_k,
        precision=request.precision,
        data=dataset.url,
        format=dataset.format,
        fingerprint=dataset.fingerprint,
        class_names=request.class_names,
        colour_order=request.colour_order,
        mean=request.mean,
        versions=versions(),
    )


def _mined(run: Run) -> MineResult:
    maps = run.feature_maps()
    return MineResult(
        images=int(maps["images"].max()),
        skipped=len(run.skipped()),
        winners=len(run.winners()),
        dead=int((maps["active"] == 0).sum()),
        maps=len(maps),
    )


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
    chosen = resolve_layers(run.layers, layers, "The run")
    settings = settings or ProjectSettings()
    waiting = tasks(run.store, chosen, rank_limit)
    _require_same_settings(run.store, settings)
    if not waiting:
        return 0
    dataset = dataset_of(run)
    total = sum(map(len, waiting))
    with cluster.connected(address):
        cluster.seats(workers)
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
    with cluster.connected(address):
        cluster.seats(workers, accelerated=False)
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
    with cluster.connected():
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
                data.write(name, demo.shard_bytes(some))
            advance(len(some))
