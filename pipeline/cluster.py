"""Ray, and nothing but Ray: what the cluster has, its actors and its tasks.

With `crew`, the only importer of ray. All that runs out there is a plain function of `stages`.
"""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import ray
from ray.exceptions import RayError

from pipeline.core.networks import Net
from pipeline.core.process import settle
from pipeline.core.recipe import Recipe
from pipeline.crew import Crew, Slots, bounded, first_line
from pipeline.data.samples import Part
from pipeline.data.shards import Dataset
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.stages.mine import PartDone, mine_part
from pipeline.stages.pictures import Wanted
from pipeline.stages.project import ProjectSettings, project_task
from pipeline.stages.publish import Unit, publish_unit

_PATIENCE = 30.0
"""Seconds without room on the cluster until a line says so."""

_KNOCK = 5.0
"""Seconds that a cluster's address may take to accept a connection; Ray itself tries for 90."""

log = logging.getLogger(__name__)


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """A connection to a cluster for as long as the block lasts.

    Args:
        address: of a cluster; None means the one that this process belongs to, else a local Ray.

    Raises:
        RequestError: no cluster answers at the address.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        _knock(address)
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except Exception as error:  # Ray has no common one for this
        raise RequestError(
            f"No Ray cluster answers at {address} ({first_line(error)}); "
            "check --address and RAY_ADDRESS, or leave them out for a local Ray."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once where nobody listens.

    Raises:
        OSError: no connection.
    """
    host, _, port = address.rpartition(":")
    if "://" not in address and host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK).close()


@dataclass(frozen=True)
class Seats:
    """Where workers can sit.

    Attributes:
        workers: how many there will be.
        cpus: processors that each one holds.
        gpus: accelerators that each one holds.
    """

    workers: int
    cpus: int
    gpus: int


def seats(workers: int | None = None, *, accelerated: bool = True) -> Seats:
    """Seats for the workers asked for, or for as many as the cluster holds.

    A worker takes one GPU where there are GPUs, with its share of the node's processors, else
    one processor; the latter always where it is not `accelerated`.

    Raises:
        RequestError: the cluster can never seat that many.
    """
    nodes = [node["Resources"] for node in _nodes() if node["Alive"]]
    with_gpu = [node for node in nodes if accelerated and node.get("GPU", 0) >= 1]
    if with_gpu:
        cpus = max(1, min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpu))
        room = sum(int(min(node["GPU"], node.get("CPU", 0) // cpus)) for node in with_gpu)
        kind = f"GPU with {cpus} CPU"
    else:
        cpus, room = 1, sum(int(node.get("CPU", 0)) for node in nodes)
        kind = "CPU"
    wanted = workers or room
    if not room:
        raise RequestError(
            f"The cluster ({len(nodes)} node{'s'[: len(nodes) != 1]}) has no {kind} for a worker; "
            "add a node, or name another --address."
        )
    if wanted > room:
        raise RequestError(
            f"{wanted} workers need a {kind} each, but the cluster has {room}; "
            f"ask for --workers {room} or fewer."
        )
    return Seats(wanted, cpus, 1 if with_gpu else 0)


class _Worker:
    """Keeps the net on its device; everything else comes with the call."""

    def __init__(self) -> None:
        settle()
        self.net: Net | None = None

    def ready(self) -> None:
        """Returns when the worker has found its place."""

    def mine(
        self, recipe: Recipe, dataset: Dataset, part: Part, run: Store, top_k: int, decoders: int
    ) -> PartDone:
        self.net = self.net or recipe.make(_device())
        return mine_part(self.net, dataset, part, run, top_k, decoders)


def _device() -> str:
    return "cuda" if ray.get_gpu_ids() else "cpu"


_nets: dict[int, Net] = {}


def _net(recipe: Recipe, token: int) -> Net:
    """The net of a task; a worker's process serves many tasks of one net."""
    if token not in _nets:
        settle()
        _nets.clear()
        _nets[token] = recipe.make(_device())
    return _nets[token]


def _project(
    recipe: Recipe,
    token: int,
    dataset: Dataset,
    run: Store,
    winners: pa.Table,
    settings: ProjectSettings,
) -> int:
    return project_task(_net(recipe, token), dataset, run, winners, settings)


class PictureWork(Protocol):
    """Makes something of some pictures, and returns the names of what it stored."""

    def __call__(self, net: Net, /, *, wanted: Sequence[Wanted]) -> list[str]:
        """Do it."""


def _pictures(recipe: Recipe, token: int, work: PictureWork, wanted: Sequence[Wanted]) -> list[str]:
    return work(_net(recipe, token), wanted=wanted)


def _publish(run: Store, dest: Store, unit: Unit) -> int:
    publish_unit(run, dest, unit)
    return unit.last - unit.first


def mine(
    net: Net,
    layers: Sequence[str],
    dataset: Dataset,
    parts: Sequence[Part],
    run: Store,
    top_k: int,
    workers: int | None,
) -> Iterator[PartDone]:
    """Mine parts on actors, in any order; yields each part when it is stored.

    Raises:
        RequestError: the cluster can never seat that many workers.
        IncompleteError: some parts could not be done; the others are.
    """
    seat = seats(workers)
    recipe, shared, place = ray.put(Recipe.of(net, layers)), ray.put(dataset), _anywhere(run)
    actor = ray.remote(_Worker).options(num_cpus=seat.cpus, num_gpus=seat.gpus, max_restarts=0)

    def start(one: Any, part: Part) -> Any:
        return one.mine.remote(recipe, shared, part, place, top_k, seat.cpus)

    _await_room(seat)
    crew = Crew(actor.remote, min(seat.workers, len(parts)))
    yield from bounded(parts, crew, start, lambda part: part.name)


def project(
    net: Net,
    layers: Sequence[str],
    dataset: Dataset,
    tables: Sequence[pa.Table],
    run: Store,
    settings: ProjectSettings,
    workers: int | None,
) -> Iterator[int]:
    """Project tables of winners as tasks; yields how many winners each one had.

    Raises:
        RequestError: the cluster can never seat that many workers.
        IncompleteError: some winners could not be projected; the others are.
    """
    seat = seats(workers)
    recipe, shared, place = ray.put(Recipe.of(net, layers)), ray.put(dataset), _anywhere(run)
    token = hash(recipe.hex())
    task = ray.remote(_project).options(num_cpus=seat.cpus, num_gpus=seat.gpus, max_retries=0)

    def start(_: Any, table: pa.Table) -> Any:
        return task.remote(recipe, token, shared, place, table, settings)

    _await_room(seat)
    yield from bounded(tables, Slots(seat.workers), start, _named_by_first)


def pictures(
    net: Net,
    units: Sequence[Sequence[Wanted]],
    work: PictureWork,
    workers: int | None,
) -> Iterator[list[str]]:
    """Explain or occlude pictures as tasks; yields what each one stored.

    Raises:
        RequestError: the cluster can never seat that many workers, or a picture cannot be used.
        IncompleteError: some pictures could not be done; the others are.
    """
    seat = seats(workers)
    layers = [layer.name for layer in net.graph.layers]
    recipe, shared = ray.put(Recipe.of(net, layers, whole=True)), ray.put(work)
    token = hash(recipe.hex())
    task = ray.remote(_pictures).options(num_cpus=seat.cpus, num_gpus=seat.gpus, max_retries=0)

    def start(_: Any, wanted: Sequence[Wanted]) -> Any:
        return task.remote(recipe, token, shared, wanted)

    _await_room(seat)
    yield from bounded(
        units, Slots(seat.workers), start, lambda wanted: f"picture {wanted[0].name}"
    )


def publish(run: Store, dest: Store, units: Sequence[Unit], workers: int | None) -> Iterator[int]:
    """Make sheets as tasks; yields how many feature maps each one was for.

    Raises:
        RequestError: the cluster can never seat that many workers.
        IncompleteError: some sheets could not be made; the others are.
    """
    seat = seats(workers, accelerated=False)
    place, target = _anywhere(run), _anywhere(dest)
    task = ray.remote(_publish).options(num_cpus=seat.cpus, max_retries=0)

    def start(_: Any, unit: Unit) -> Any:
        return task.remote(place, target, unit)

    _await_room(seat)
    yield from bounded(
        units, Slots(seat.workers), start, lambda unit: f"{unit.layer} from map {unit.first}"
    )


def _anywhere(store: Store) -> Store:
    """The same place for processes with another current folder."""
    return Store(store.path()) if store.is_local else store


def _nodes() -> list[dict[str, Any]]:
    return list(ray.nodes())  # type: ignore[no-untyped-call]


def _named_by_first(table: pa.Table) -> str:
    return f"the winners from sample {table['sample'][0].as_py()} on"


def _nothing() -> None:
    """The smallest piece of work."""


def _await_room(seat: Seats) -> None:
    """Wait until the cluster has room for a worker; after a while, say that this is so.

    Raises:
        RequestError: the cluster's processes cannot run this project.
    """
    task = ray.remote(_nothing).options(num_cpus=seat.cpus, num_gpus=seat.gpus)
    first = task.remote()
    while not ray.wait([first], timeout=_PATIENCE)[0]:
        log.warning("Waiting for room: all that the cluster has is in use by others.")
    try:
        ray.get(first)
    except RayError as error:
        raise RequestError(
            f"The cluster's workers cannot run deconv-atlas ({first_line(error)}); "
            "install the same version there."
        ) from error
