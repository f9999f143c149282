"""Ray, and nothing but Ray: what the cluster has, its actors and tasks, and the bounded loop.

The only importer of ray. Everything that runs out there is a plain function of `stages`.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import torch
from ray.exceptions import RayError, RayTaskError
from torch import Tensor

from pipeline.core import networks
from pipeline.core.networks import Net
from pipeline.core.preprocessing import Preprocessing
from pipeline.data.samples import Part
from pipeline.data.shards import Dataset
from pipeline.data.store import Store
from pipeline.errors import AtlasError, IncompleteError, RequestError
from pipeline.stages.mine import PartDone, mine_part
from pipeline.stages.project import ProjectSettings, project_task
from pipeline.stages.publish import Unit, publish_unit

_TRIES = 3
"""How often a unit of work is tried when its process or its store fails."""

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
    address = address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RequestError(
            f"No Ray cluster answers at {address}: {str(error).splitlines()[0]} "
            "Check --address, or leave it out for a local Ray."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


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


def seats(workers: int | None = None) -> Seats:
    """Seats for the workers asked for, or for as many as the cluster holds.

    A worker takes one GPU where there are GPUs, with its share of the node's processors, else
    one processor.

    Raises:
        RequestError: the cluster can never seat that many.
    """
    nodes = [node["Resources"] for node in _nodes() if node["Alive"]]
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    if with_gpu:
        cpus = max(1, min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpu))
        room = sum(int(min(node["GPU"], node.get("CPU", 0) // cpus)) for node in with_gpu)
        kind = f"GPU with {cpus} CPU"
    else:
        cpus, room = 1, sum(int(node.get("CPU", 0)) for node in nodes)
        kind = "CPU"
    wanted = workers or room
    if not room:
        raise RequestError(f"The cluster of {len(nodes)} nodes has no {kind} for a worker.")
    if wanted > room:
        raise RequestError(
            f"{wanted} workers need a {kind} each, but the cluster has {room}; "
            f"ask for --workers {room} or fewer."
        )
    return Seats(wanted, cpus, 1 if with_gpu else 0)


@dataclass(frozen=True)
class Recipe:
    """A net on its way to a worker: what to build, and the tensors of its trunk."""

    name: str
    classes: int
    preprocessing: Preprocessing
    layers: tuple[str, ...]
    state: dict[str, Tensor]

    @classmethod
    def of(cls, net: Net, layers: Sequence[str]) -> "Recipe":
        """The recipe of a net, with these layers alone."""
        state = net.graph.only(layers).trunk.state_dict()
        return cls(net.name, net.classes, net.preprocessing, tuple(layers), dict(state))

    def make(self, device: str) -> Net:
        """The net on a device, in the memory layout that is fastest there."""
        module = networks.build(self.name, self.classes)
        net = networks.assemble(self.name, module, self.preprocessing)
        graph = net.graph.only(self.layers)
        graph.trunk.load_state_dict(self.state)
        graph.trunk.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Net(net.name, graph, net.preprocessing, net.classes)


def single_threaded() -> None:
    """One thread for the net: sums come out the same, however many workers share a machine."""
    torch.set_num_threads(1)


class _Worker:
    """Keeps the net on its device; everything comes with the call, so it may restart any time."""

    def __init__(self) -> None:
        single_threaded()
        self.net: Net | None = None

    def mine(
        self, recipe: Recipe, dataset: Dataset, part: Part, run: Store, top_k: int, decoders: int
    ) -> PartDone:
        self.net = self.net or recipe.make(_device())
        return mine_part(self.net, dataset, part, run, top_k, decoders)


def _device() -> str:
    return "cuda" if ray.get_gpu_ids() else "cpu"


_nets: dict[int, Net] = {}


def _project(
    recipe: Recipe,
    token: int,
    dataset: Dataset,
    run: Store,
    winners: pa.Table,
    settings: ProjectSettings,
) -> int:
    if token not in _nets:  # a worker's process serves many tasks
        single_threaded()
        _nets.clear()
        _nets[token] = recipe.make(_device())
    return project_task(_nets[token], dataset, run, winners, settings)


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
    recipe = ray.put(Recipe.of(net, layers))
    shared = ray.put(dataset)
    actor = ray.remote(_Worker).options(
        num_cpus=seat.cpus, num_gpus=seat.gpus, max_restarts=-1, max_task_retries=_TRIES
    )
    actors: list[Any] = [actor.remote() for _ in range(min(seat.workers, len(parts)))]

    def start(one: Any, part: Part) -> Any:
        return one.mine.remote(recipe, shared, part, run, top_k, seat.cpus)

    try:
        yield from _bounded(parts, actors, start, lambda part: part.name)
    finally:
        for one in actors:
            ray.kill(one)


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
    recipe = ray.put(Recipe.of(net, layers))
    shared = ray.put(dataset)
    token = hash(recipe.hex())
    task = ray.remote(_project).options(num_cpus=seat.cpus, num_gpus=seat.gpus, max_retries=_TRIES)

    def start(_: int, table: pa.Table) -> Any:
        return task.remote(recipe, token, shared, run, table, settings)

    yield from _bounded(tables, range(seat.workers), start, _named_by_first)


def publish(run: Store, dest: Store, units: Sequence[Unit], workers: int | None) -> Iterator[int]:
    """Make sheets as tasks; yields how many feature maps each one was for."""
    task = ray.remote(_publish).options(num_cpus=1, max_retries=_TRIES)

    def start(_: int, unit: Unit) -> Any:
        return task.remote(run, dest, unit)

    cpus = sum(int(node["Resources"].get("CPU", 0)) for node in _nodes() if node["Alive"])
    slots = range(workers or max(1, cpus))
    yield from _bounded(units, slots, start, lambda unit: f"{unit.layer} from map {unit.first}")


def _nodes() -> list[dict[str, Any]]:
    return list(ray.nodes())  # type: ignore[no-untyped-call]


def _named_by_first(table: pa.Table) -> str:
    return f"the winners from sample {table['sample'][0].as_py()} on"


def _bounded(
    units: Sequence[Any],
    slots: Sequence[Any],
    start: Callable[[Any, Any], Any],
    name: Callable[[Any], str],
) -> Iterator[Any]:
    """Do units of work, as many at a time as there are slots, each tried a few times.

    What this project raises on purpose ends the loop; what a process or a store fails with is
    tried again, and what fails every time is named at the end.
    """
    waiting = [(unit, 1) for unit in reversed(units)]
    running: dict[Any, tuple[Any, Any, int]] = {}
    failed: list[str] = []
    free = list(slots)
    while waiting or running:
        while waiting and free:
            (unit, attempt), slot = waiting.pop(), free.pop()
            running[start(slot, unit)] = (slot, unit, attempt)
        (ready,), _ = ray.wait(list(running), num_returns=1)
        slot, unit, attempt = running.pop(ready)
        free.append(slot)
        try:
            yield ray.get(ready)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            if isinstance(cause, AtlasError):
                raise cause from None
            log.warning("%s failed (try %d of %d): %s", name(unit), attempt, _TRIES, cause)
            if attempt < _TRIES:
                waiting.append((unit, attempt + 1))
            else:
                failed.append(f"{name(unit)} ({_first_line(cause)})")
    if failed:
        raise IncompleteError(
            f"Not done: {', '.join(failed)}. The same command again does only these."
        )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
