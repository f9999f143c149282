"""The loop that brings a crew its work, whatever dies, hangs, comes or goes meanwhile."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pipeline.cluster.crew import Content, Crew, End, Job, Prepared, Result
from pipeline.cluster.seats import Seats
from pipeline.cluster.session import crew_of, dismiss
from pipeline.cluster.work import Work
from pipeline.errors import (
    TRIES,
    AtlasError,
    IncompleteError,
    MissingDataError,
    StoreError,
    first_line,
)

_TICK = 1.0
"""Seconds for which nothing happens, at most, until the crew is looked after again."""

_PATIENCE = 60.0
"""Seconds without any result until a line says so."""

_LATE, _LEAST = 3.0, 60.0
"""A unit is late when it takes so many times what the slowest took so far, and at least so many
seconds; somebody who has nothing else to do then does it too."""

Watch = Callable[[int, int], None]

_WORTH_A_TRY = (MissingDataError, StoreError)
"""What this project raises on purpose of one machine, where another may do better."""

_HANGS = 2.0
"""Times what makes a unit late, after which its worker is taken to hang, and replaced."""

log = logging.getLogger(__name__)


def _nobody(workers: int, failures: int) -> None:
    """Watches, unless a block of `watched` says who."""


_watch: Watch = _nobody


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """As long as the block lasts, tell how many workers have a place and how often units failed."""
    global _watch
    before, _watch = _watch, watch
    try:
        yield
    finally:
        _watch = before


def bounded(
    job: Job[Prepared, Content, Result],
    contents: Sequence[Content],
    seats: Seats,
    what: str,
    name: Callable[[Content], str],
) -> Iterator[Result]:
    """Do units of work, as many at a time as there are workers, each tried a few times.

    What this project raises on purpose ends the loop; what a process or a store fails with, or
    does not find, is tried again, on another node if there is one, and what fails every time is
    named at the end, but a store that fails every time ends the loop: it would fail the others as
    well. What takes far longer than anything before is done by a second worker too.

    Args:
        job: that they belong to; it is sent once.
        contents: of the units.
        seats: of the workers.
        what: they do, as Ray's tools show it.
        name: of a unit, for messages.

    Yields:
        The results, in the order in which they come.

    Raises:
        RequestError: the cluster can never do it.
        IncompleteError: some units failed every time; all others are done.
    """
    crew = crew_of(seats)
    shift = Shift(crew, Work(contents, name), crew.bring(job), what)
    try:
        while shift.work.left:
            end = shift.turn()
            _watch(crew.size, shift.failures)
            if end is not None and shift.settle(end):
                yield end.result
        crew.rest()
    except BaseException:
        dismiss(crew)  # an actor at work cannot be stopped otherwise
        raise
    if shift.work.given_up:
        raise IncompleteError(
            f"Not done: {', '.join(shift.work.given_up)}. The same command again does only these."
        )


class Shift:
    """One job's work, and the crew that does it.

    Args:
        crew: who does it.
        work: the units.
        job: as the crew was brought it.
        what: they do, as Ray's tools show it.
    """

    def __init__(self, crew: Crew, work: Work, job: object, what: str) -> None:
        self.work = work
        self._crew, self._job, self._what = crew, job, what
        self.failures = 0
        self._slowest = 0.0
        self._heard = time.monotonic()

    def turn(self) -> End | None:
        """Give everybody something to do, then wait for something to happen."""
        self._crew.tend(self.work.left)
        now = time.monotonic()
        for member in self._crew.idle():
            unit = self.work.take(member.node, self._crew.places, now)
            if unit is not None:
                self._crew.start(member, unit, self._job, self._what)
        if self._slowest:
            self._mind_the_late()
        if now - self._heard > _PATIENCE:
            self._heard = now
            log.info("Nothing new in %.0f s; still waiting for the cluster.", _PATIENCE)
        return self._crew.end(_TICK)

    def _mind_the_late(self) -> None:
        """A second worker for what takes too long; and another for one that hangs."""
        limit = max(_LEAST, _LATE * self._slowest)
        for member, unit, seconds in self._crew.longer_than(limit):
            others = [each for each in self._crew.idle() if each.node != member.node]
            if seconds > _HANGS * limit:
                log.warning("%s hangs for %.0f s; its worker is replaced.", unit.name, seconds)
                self._crew.replace(member)
                self.work.lost(unit, "its worker hangs", time.monotonic())
            elif unit.copies == 1 and (free := others or self._crew.idle()):
                log.warning("%s takes %.0f s; another worker does it too.", unit.name, seconds)
                unit.copies += 1
                self._crew.start(free[0], unit, self._job, self._what)

    def settle(self, end: End) -> bool:
        """Note what became of a unit; tells whether its result is the first.

        Raises:
            AtlasError: what ends the loop.
        """
        now, unit, error = time.monotonic(), end.unit, end.error
        self._heard = now
        if error is None:
            self._crew.trust.succeeded(end.node)
            self._slowest = max(self._slowest, end.seconds)
            return self.work.done(unit)
        is_final = isinstance(error, AtlasError) and not isinstance(error, _WORTH_A_TRY)
        if is_final or not isinstance(error, Exception):
            raise error from None
        why, attempt = first_line(error), unit.attempt
        self.failures += 1
        if end.lost:
            log.warning("%s: its worker was lost (%s); it goes to another.", unit.name, why)
            self.work.lost(unit, why, now)
        else:
            log.warning("%s failed (try %d of %d): %s", unit.name, attempt, TRIES, why)
            again = self.work.failed(unit, end.node, self._crew.places, error, why, now)
            if isinstance(error, StoreError) and not again:
                raise error from None
        if rest := self._crew.trust.failed(end.node, now):
            log.warning(
                "Node %s failed several times; it gets no work for %.0f s.", end.node[:8], rest
            )
        return False
