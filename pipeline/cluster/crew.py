"""The workers of a Ray cluster, and the loop that brings them work, whatever dies meanwhile."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from pipeline.cluster.connection import Seats, at_end, await_room, first_line
from pipeline.cluster.process import settle
from pipeline.errors import AtlasError, IncompleteError

_TRIES = 3
"""How often a unit of work is tried when its process or its store fails."""

_PATIENCE = 60.0
"""Seconds without any result until a line says so."""

log = logging.getLogger(__name__)

Prepared = TypeVar("Prepared")
Content = TypeVar("Content")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Job(Generic[Prepared, Content, Result]):
    """What workers are sent once.

    Attributes:
        prepare: makes what the work needs, given a worker's device.
        do: a unit of work, given that.
    """

    prepare: Callable[[str], Prepared]
    do: Callable[[Prepared, Content], Result]


class Worker:
    """An actor that holds what it has prepared for one job, and does units of work of it.

    An actor's process is its own, while Ray hands a task that asks for a GPU any idle process,
    and that may hold the context of another GPU.
    """

    def __init__(self, device: str) -> None:
        settle()
        self._device = device
        self._ready: dict[str, Callable[[Any], Any]] = {}

    def ready(self) -> None:
        """Returns when the worker has found its place."""

    def do(self, reference: Sequence[Any], content: Any) -> Any:
        """Do a unit of a job; that is named within a list, else Ray would bring it every time."""
        name = reference[0].hex()
        if name not in self._ready:
            self._ready.clear()
            gc.collect()  # an old job's nets are cycles
            job = ray.get(reference[0])
            self._ready[name] = partial(job.do, job.prepare(self._device))
        return self._ready[name](content)


class Crew:
    """Workers; only those that have found their place get work, and who dies is replaced.

    So what dies with a node goes to those who are left: Ray's own restarts would hold it back
    until there is room for the dead one again.

    Attributes:
        seats: that they take.
        free: who has a place and nothing to do.
        coming: the promise to be ready → who has no place yet.
    """

    def __init__(self, seats: Seats) -> None:
        self.seats = seats
        self.free: list[Any] = []
        self.coming: dict[Any, Any] = {}
        self._members: list[Any] = []
        self._lost = 0

    def enlist(self, count: int) -> None:
        """From now on be so many, as far as there are seats, or as many as before."""
        self._lost = 0
        while len(self._members) < min(count, self.seats.workers):
            self._hire()

    def _hire(self) -> None:
        actor: Any = ray.remote(Worker).options(
            num_cpus=self.seats.cpus, num_gpus=self.seats.gpus, max_restarts=0
        )
        worker = actor.remote("cuda" if self.seats.gpus else "cpu")
        self._members.append(worker)
        self.coming[worker.ready.remote()] = worker

    def arrive(self, promise: Any) -> None:
        """Take note of a promise of `coming` that is kept or broken.

        Raises:
            IncompleteError: one worker after another could not even start.
        """
        worker = self.coming.pop(promise)
        try:
            ray.get(promise)
        except RayError as error:
            self._lost += 1
            if self._lost > _TRIES * len(self._members):
                raise IncompleteError(
                    f"No worker could start: {first_line(error)}. "
                    "Mend the cluster, then give the same command again."
                ) from error
            self.replace(worker)
        else:
            self.free.append(worker)

    def replace(self, worker: Any) -> None:
        """Hire another one for a worker that has ended."""
        ray.kill(worker)  # out of reach is not always dead, and then it would keep its place
        self._members.remove(worker)
        self._hire()

    def dismiss(self) -> None:
        """Send everyone home, whatever they are at."""
        while self._members:
            ray.kill(self._members.pop())


_crew: Crew | None = None
"""Who did the last work in this block of `connected`: starting others takes seconds."""


def dismiss() -> None:
    """Send home whoever waits for more work; the next work finds workers of its own."""
    global _crew
    crew, _crew = _crew, None
    if crew is not None:
        crew.dismiss()


def _crew_of(seats: Seats, count: int) -> Crew:
    """Those who are here already, if they sit as they should, else new ones.

    Nobody waits for room while our own idle workers take it.
    """
    global _crew
    if _crew is None or _crew.seats != seats:
        dismiss()
        at_end(dismiss)
        await_room(seats)
        _crew = Crew(seats)
    _crew.enlist(count)
    return _crew


@dataclass
class _Unit:
    content: Any
    name: str
    attempt: int = 1


@dataclass
class _Loop:
    crew: Crew
    start: Callable[[Any, Any], Any]
    waiting: list[_Unit]
    running: dict[Any, tuple[Any, _Unit]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def fill(self) -> None:
        while self.waiting and self.crew.free:
            unit, worker = self.waiting.pop(), self.crew.free.pop()
            self.running[self.start(worker, unit.content)] = worker, unit

    def next(self) -> Any:
        """The next promise that is kept or broken."""
        promises = [*self.running, *self.crew.coming]
        while True:
            ready, _ = ray.wait(promises, num_returns=1, timeout=_PATIENCE)
            if ready:
                return ready[0]
            log.info("Nothing new in %.0f s; still waiting for the cluster.", _PATIENCE)

    def result(self, promise: Any) -> list[Any]:
        """The result of a unit, or nothing if it has to be tried again or has failed for good."""
        worker, unit = self.running.pop(promise)
        try:
            result = ray.get(promise)
        except RayTaskError as error:
            self.crew.free.append(worker)
            if isinstance(error.cause, AtlasError):
                raise error.cause from None
            self._again(unit, first_line(error.cause))
            return []
        except RayError as error:
            self.crew.replace(worker)
            self._again(unit, first_line(error))
            return []
        self.crew.free.append(worker)
        return [result]

    def _again(self, unit: _Unit, why: str) -> None:
        log.warning("%s failed (try %d of %d): %s", unit.name, unit.attempt, _TRIES, why)
        if unit.attempt == _TRIES:
            self.failed.append(f"{unit.name} ({why})")
            return
        unit.attempt += 1
        self.waiting.append(unit)


def bounded(
    job: Job[Prepared, Content, Result],
    units: Sequence[Content],
    seats: Seats,
    what: str,
    name: Callable[[Content], str],
) -> Iterator[Result]:
    """Do units of work, as many at a time as there are workers, each tried a few times.

    What this project raises on purpose ends the loop; what a process or a store fails with is
    tried again, and what fails every time is named at the end.

    Args:
        job: that they belong to; it is sent once.
        units: of work.
        seats: of the workers.
        what: they do, as Ray's tools show it.
        name: of a unit, for messages.

    Yields:
        The results, in the order in which they come.

    Raises:
        RequestError: the cluster's processes cannot run this project.
        IncompleteError: some units failed every time; all others are done.
    """
    crew, reference = _crew_of(seats, len(units)), [ray.put(job)]

    def start(worker: Any, content: Content) -> Any:
        return worker.do.options(name=what).remote(reference, content)

    loop = _Loop(crew, start, [_Unit(unit, name(unit)) for unit in reversed(units)])
    try:
        while loop.waiting or loop.running:
            loop.fill()
            promise = loop.next()
            if promise in crew.coming:
                crew.arrive(promise)
            else:
                yield from loop.result(promise)
    finally:
        if (loop.waiting or loop.running) and crew is _crew:
            dismiss()  # it ends too early, and an actor at work cannot be stopped otherwise
    if loop.failed:
        raise IncompleteError(
            f"Not done: {', '.join(loop.failed)}. The same command again does only these."
        )
