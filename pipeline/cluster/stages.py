"""The stages on Ray: what travels to the workers, and what they do with it.

With `connection` and `crew`, the only importer of ray. All that runs out there is a plain function
of `stages`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import ray

from pipeline.atlas.publish import Unit, publish_unit
from pipeline.cluster.connection import Seats, await_room, seats
from pipeline.cluster.crew import Crew, Slots, bounded
from pipeline.cluster.process import settle
from pipeline.config import Precision
from pipeline.core.nets.known import Net
from pipeline.core.nets.recipe import Recipe
from pipeline.data.formats.dataset import Dataset
from pipeline.data.pictures import Made, Wanted
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.stages.mine import Miner, PartDone, mine_part
from pipeline.stages.project import ProjectSettings, project_task
from pipeline.stages.rescore import SecondLook, rescore_unit

_Some = TypeVar("_Some")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class _Mining:
    """What a worker needs to know once: the nets, and where each one's results go."""

    recipes: tuple[Recipe, ...]
    runs: tuple[Store, ...]
    dataset: Dataset
    top_k: int
    precision: Precision
    decoders: int


class _Worker:
    """Keeps the nets on its device; everything else comes with the call."""

    def __init__(self) -> None:
        settle()
        self.miners: list[Miner] = []

    def ready(self) -> None:
        """Returns when the worker has found its place."""

    def mine(self, job: _Mining, part: Part, which: Sequence[int]) -> PartDone:
        if not self.miners:
            prepare = Miner.exact if job.precision == "exact" else Miner.screening
            self.miners = [prepare(recipe.make(_device())) for recipe in job.recipes]
        miners, runs = [self.miners[one] for one in which], [job.runs[one] for one in which]
        return mine_part(miners, job.dataset, part, runs, job.top_k, job.decoders)


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


def _on_net(recipe: Recipe, token: int, do: Callable[[Net, _Some], _Made], unit: _Some) -> _Made:
    return do(_net(recipe, token), unit)


@dataclass(frozen=True)
class Target:
    """A net to mine, its layers, and where its results go."""

    net: Net
    layers: Sequence[str]
    run: Store


Work = tuple[Part, Sequence[int]]
"""A part, and the targets that it is to be mined for, by number."""


def mine(
    targets: Sequence[Target],
    dataset: Dataset,
    work: Sequence[Work],
    top_k: int,
    precision: Precision,
    workers: int | None,
) -> Iterator[PartDone]:
    """Mine parts on actors, in any order; yields each part when it is stored.

    Raises:
        RequestError: the cluster can never seat that many workers.
        IncompleteError: some parts could not be done; the others are.
    """
    seat = seats(workers)
    recipes = tuple(Recipe.of(target.net, target.layers) for target in targets)
    runs = tuple(_anywhere(target.run) for target in targets)
    job = ray.put(_Mining(recipes, runs, dataset, top_k, precision, _decoders(seat)))
    actor = ray.remote(_Worker).options(num_cpus=seat.cpus, num_gpus=seat.gpus, max_restarts=0)

    def start(one: Any, some: Work) -> Any:
        return one.mine.remote(job, *some)

    await_room(seat)
    crew = Crew(actor.remote, min(seat.workers, len(work)))
    yield from bounded(work, crew, start, lambda some: some[0].name)


def rescore(
    target: Target, dataset: Dataset, units: Sequence[SecondLook], top_k: int, workers: int | None
) -> Iterator[int]:
    """Look at images again exactly, as tasks; yields how many each unit had.

    Raises:
        RequestError: the cluster can never seat that many workers.
        IncompleteError: some units could not be done; the others are.
    """
    seat = seats(workers)
    do = partial(
        rescore_unit,
        dataset=dataset, run=_anywhere(target.run), top_k=top_k, decoders=_decoders(seat),
    )  # fmt: skip
    recipe = Recipe.of(target.net, target.layers)
    yield from _tasks("rescore", seat, recipe, do, units, lambda unit: unit.file)


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
    do = partial(project_task, dataset=dataset, run=_anywhere(run), settings=settings)
    recipe = Recipe.of(net, layers)
    yield from _tasks("project", seats(workers), recipe, do, tables, _named_by_first)


def pictures(
    net: Net,
    units: Sequence[Sequence[Wanted]],
    work: Callable[[Net, Sequence[Wanted]], Made],
    workers: int | None,
) -> Iterator[Made]:
    """Explain or occlude pictures as tasks; yields what came of each one.

    Raises:
        RequestError: the cluster can never seat that many workers.
        IncompleteError: some pictures could not be done; the others are.
    """
    recipe = Recipe.of(net, [layer.name for layer in net.graph.layers], whole=True)
    yield from _tasks(
        "pictures", seats(workers), recipe, work, units, lambda some: f"picture {some[0].name}"
    )


def _tasks(
    what: str,
    seat: Seats,
    recipe: Recipe,
    do: Callable[[Net, _Some], _Made],
    units: Sequence[_Some],
    name: Callable[[_Some], str],
) -> Iterator[_Made]:
    """Do something with a net and each of some units; `what` is shown by Ray's tools."""
    kept, shared = ray.put(recipe), ray.put(do)
    token = hash(kept.hex())
    task: Any = ray.remote(_on_net).options(
        name=what, num_cpus=seat.cpus, num_gpus=seat.gpus, max_retries=0
    )
    await_room(seat)
    yield from bounded(
        units, Slots(seat.workers), lambda _, unit: task.remote(kept, token, shared, unit), name
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
    await_room(seat)
    yield from bounded(
        units,
        Slots(seat.workers),
        lambda _, unit: task.remote(place, target, unit),
        lambda unit: f"{unit.layer} from map {unit.first}",
    )


def _publish(run: Store, dest: Store, unit: Unit) -> int:
    publish_unit(run, dest, unit)
    return unit.last - unit.first


def _decoders(seat: Seats) -> int:
    """Threads that decode beside a GPU; on the net's own core they would only get in its way."""
    return seat.cpus if seat.gpus else 0


def _anywhere(store: Store) -> Store:
    """The same place for processes with another current folder."""
    return Store(store.path()) if store.is_local else store


def _named_by_first(table: pa.Table) -> str:
    return f"the winners from sample {table['sample'][0].as_py()} on"
