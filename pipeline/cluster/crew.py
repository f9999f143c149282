"""The workers of a Ray cluster, and the loop that brings them work, whatever dies meanwhile."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from pipeline.cluster.connection import Seats, at_end, await_room, first_line
from pipeline.cluster.process import settle
from pipeline.errors import TRIES, AtlasError, IncompleteError

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

    def on(self, device: str) -> Callable[[Content], Result]:
        """What does a unit on this device."""
        return partial(self.do, self.prepare(device))


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
            self._ready[name] = ray.get(reference[0]).on(self._device)
        return self._ready[name](content)


@dataclass(frozen=True)
class _Unit:
    content: Any
    name: str
    attempt: int = 1


class Crew:
    """Workers; only those that have found their place get work, and who dies is replaced.

    So what dies with a node goes to those who are left: Ray's own restarts would hold it back
    until there is room for the dead one again.

    Attributes:
        seats: that they take.
        free: who has a place and nothing to do.
    """

    def __init__(self, seats: Seats) -> None:
        self.seats = seats
        self.free: list[Any] = []
        self._members: list[Any] = []
        self._promises: dict[Any, tuple[Any, _Unit | None]] = {}  # without a unit: to be ready
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
        self._promises[worker.ready.remote()] = worker, None

    def start(self, unit: _Unit, job: Sequence[Any], what: str) -> None:
        """Give a unit to someone who is free."""
        worker = self.free.pop()
        self._promises[worker.do.options(name=what).remote(job, unit.content)] = worker, unit

    @property
    def is_at_work(self) -> bool:
        """Whether units are under way."""
        return any(unit is not None for _, unit in self._promises.values())

    def end(self) -> tuple[_Unit | None, Any, BaseException | None]:
        """Wait for a worker that has found its place, or has done a unit, or failed with it.

        Returns:
            The unit if there is one, its result, and what it failed with.

        Raises:
            IncompleteError: one worker after another could not even start.
        """
        while not (ready := ray.wait(list(self._promises), timeout=_PATIENCE)[0]):
            log.info("Nothing new in %.0f s; still waiting for the cluster.", _PATIENCE)
        worker, unit = self._promises.pop(ready[0])
        try:
            result = ray.get(ready[0])
        except RayTaskError as error:
            self.free.append(worker)
            return unit, None, error.cause
        except RayError as error:
            self._replace(worker)
            self._lost += unit is None
            if self._lost > TRIES * len(self._members):
                raise IncompleteError(
                    f"No worker could start: {first_line(error)}. "
                    "Mend the cluster, then give the same command again."
                ) from error
            return unit, None, error
        self.free.append(worker)
        return unit, result, None

    def _replace(self, worker: Any) -> None:
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


def bounded(
    job: Job[Prepared, Content, Result],
    contents: Sequence[Content],
    seats: Seats,
    what: str,
    name: Callable[[Content], str],
) -> Iterator[Result]:
    """Do units of work, as many at a time as there are workers, each tried a few times.

    What this project raises on purpose ends the loop; what a process or a store fails with is
    tried again, and what fails every time is named at the end.

    Args:
        job: that they belong to; it is sent once.
        contents: of the units.
        seats: of the workers.
        what: they do, as Ray's tools show it.
        name: of a unit, for messages.

    Yields:
        The results, in the order in which they come.

    Raises:
        RequestError: the cluster's processes cannot run this project.
        IncompleteError: some units failed every time; all others are done.
    """
    crew, reference = _crew_of(seats, len(contents)), [ray.put(job)]
    waiting = [_Unit(content, name(content)) for content in reversed(contents)]
    failed: list[str] = []
    try:
        while waiting or crew.is_at_work:
            while waiting and crew.free:
                crew.start(waiting.pop(), reference, what)
            unit, result, error = crew.end()
            if isinstance(error, AtlasError):
                raise error from None
            if unit is None:
                continue
            if error is None:
                yield result
                continue
            why = first_line(error)
            log.warning("%s failed (try %d of %d): %s", unit.name, unit.attempt, TRIES, why)
            if unit.attempt < TRIES:
                waiting.append(replace(unit, attempt=unit.attempt + 1))
            else:
                failed.append(f"{unit.name} ({why})")
    finally:
        if (waiting or crew.is_at_work) and crew is _crew:
            dismiss()  # it ends too early, and an actor at work cannot be stopped otherwise
    if failed:
        raise IncompleteError(
            f"Not done: {', '.join(failed)}. The same command again does only these."
        )
