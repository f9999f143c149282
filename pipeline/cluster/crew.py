"""The bounded loop: units of work for the workers of a Ray cluster, whatever dies meanwhile."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from pipeline.errors import AtlasError, IncompleteError

_TRIES = 3
"""How often a unit of work is tried when its process or its store fails."""

_PATIENCE = 60.0
"""Seconds without any result until a line says so."""

log = logging.getLogger(__name__)


class Slots:
    """Room for so many tasks at a time; Ray itself finds their places."""

    def __init__(self, count: int) -> None:
        self.free: list[Any] = list(range(count))
        self.coming: dict[Any, Any] = {}

    def arrive(self, promise: Any) -> None:
        """Tasks have nobody to wait for."""

    def release(self, worker: Any, error: RayError | None) -> None:  # noqa: ARG002
        """Take back a slot."""
        self.free.append(worker)

    def dismiss(self) -> None:
        """Tasks end by themselves."""


class Crew:
    """Actors; only those that have found their place get work, and who dies is replaced.

    So what dies with a node goes to those who are left: Ray's own restarts would hold it back
    until there is room for the dead one again.

    Args:
        hire: starts an actor; it has a method `ready`.
        count: how many.
    """

    def __init__(self, hire: Callable[[], Any], count: int) -> None:
        self.free: list[Any] = []
        self.coming: dict[Any, Any] = {}
        self._hire = hire
        self._lost = 0
        self._most_lost = _TRIES * count
        for _ in range(count):
            self._add()

    def _add(self) -> None:
        worker = self._hire()
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
            if self._lost > self._most_lost:
                raise IncompleteError(
                    f"No worker could start: {first_line(error)}. "
                    "Mend the cluster, then give the same command again."
                ) from error
            self._replace(worker)
        else:
            self.free.append(worker)

    def release(self, worker: Any, error: RayError | None) -> None:
        """Take back a worker after its work, or replace it if that was its end."""
        if isinstance(error, RayActorError):
            self._replace(worker)
        else:
            self.free.append(worker)

    def _replace(self, worker: Any) -> None:
        ray.kill(worker)  # out of reach is not always dead, and then it would keep its place
        self._add()

    def dismiss(self) -> None:
        """Send home everyone who is free or on the way."""
        for worker in (*self.free, *self.coming.values()):
            ray.kill(worker)


@dataclass
class _Unit:
    content: Any
    name: str
    attempt: int = 1


@dataclass
class _Loop:
    start: Callable[[Any, Any], Any]
    workers: "Slots | Crew"
    waiting: list[_Unit]
    running: dict[Any, tuple[Any, _Unit]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def fill(self) -> None:
        while self.waiting and self.workers.free:
            unit, worker = self.waiting.pop(), self.workers.free.pop()
            self.running[self.start(worker, unit.content)] = worker, unit

    def next(self) -> Any:
        """The next promise that is kept or broken."""
        promises = [*self.running, *self.workers.coming]
        while True:
            ready, _ = ray.wait(promises, num_returns=1, timeout=_PATIENCE)
            if ready:
                return ready[0]
            log.info("Nothing new in %.0f s; still waiting for the cluster.", _PATIENCE)

    def result(self, promise: Any) -> list[Any]:
        """The result of a unit, or nothing if it has to be tried again or has failed for good."""
        worker, unit = self.running.pop(promise)
        try:
            result = [ray.get(promise)]
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            self.workers.release(worker, error)
            if isinstance(cause, AtlasError):
                raise cause from None
            self._again(unit, first_line(cause))
            return []
        self.workers.release(worker, None)
        return result

    def _again(self, unit: _Unit, why: str) -> None:
        log.warning("%s failed (try %d of %d): %s", unit.name, unit.attempt, _TRIES, why)
        if unit.attempt == _TRIES:
            self.failed.append(f"{unit.name} ({why})")
            return
        unit.attempt += 1
        self.waiting.append(unit)

    def stop(self) -> None:
        for promise, (worker, _) in self.running.items():
            ray.cancel(promise)
            self.workers.release(worker, None)
        self.workers.dismiss()


def bounded(
    units: Sequence[Any],
    workers: Slots | Crew,
    start: Callable[[Any, Any], Any],
    name: Callable[[Any], str],
) -> Iterator[Any]:
    """Do units of work, as many at a time as there are workers, each tried a few times.

    What this project raises on purpose ends the loop; what a process or a store fails with is
    tried again, and what fails every time is named at the end.

    Args:
        units: of work.
        workers: who do it; dismissed at the end.
        start: gives a unit to a worker; returns the promise of its result.
        name: of a unit, for messages.

    Yields:
        The results, in the order in which they come.

    Raises:
        IncompleteError: some units failed every time; all others are done.
    """
    loop = _Loop(start, workers, [_Unit(unit, name(unit)) for unit in reversed(units)])
    try:
        while loop.waiting or loop.running:
            loop.fill()
            promise = loop.next()
            if promise in workers.coming:
                workers.arrive(promise)
            else:
                yield from loop.result(promise)
    finally:
        loop.stop()
    if loop.failed:
        raise IncompleteError(
            f"Not done: {', '.join(loop.failed)}. The same command again does only these."
        )


def first_line(error: BaseException) -> str:
    """What an error says, without its details; its name if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip(".")
