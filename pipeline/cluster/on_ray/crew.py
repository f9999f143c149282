"""The workers of a Ray cluster, who come and go: asked for, placed, given work, replaced."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from pipeline.cluster.crew import End, Job, Member, at_it_for_longer
from pipeline.cluster.on_ray.autoscaler import autoscales, refused
from pipeline.cluster.on_ray.connection import draining, room
from pipeline.cluster.on_ray.head import require_head
from pipeline.cluster.on_ray.worker import Worker
from pipeline.cluster.seats import Seats
from pipeline.cluster.work import Nodes, Unit
from pipeline.errors import TRIES, IncompleteError, RequestError, first_line, last_line

_FIRST = 8
"""Workers that an autoscaler is asked for beyond twice those that are there."""

_PATIENCE, _SHORT_PATIENCE = 30.0, 5.0
"""Seconds without any worker until a line says so: where there should be room, and where not."""

_LOOK = 2.0
"""Seconds between looks at the cluster."""

_SILENT = 60.0

_ARRIVAL = 120.0
"""Seconds for which somebody asked for may still find a place where things are better."""

_LONGEST_PAUSE = 60.0
"""Seconds, at most, until another worker is asked for after some could not start."""

log = logging.getLogger(__name__)


class RayCrew:
    """Workers; only those that have found their place get work, and who dies is replaced.

    So what dies with a node goes to those who are left: Ray's own restarts would hold it back
    until there is room for the dead one again. Workers without a place are what Ray's autoscaler
    sees as demand.

    Attributes:
        seats: that they take.
        trust: which nodes get work.
    """

    def __init__(self, seats: Seats) -> None:
        self.seats = seats
        self.trust = Nodes()
        self._members: list[Member] = []
        self._promises: dict[Any, Member] = {}
        self._draining: set[str] = set()
        self._failed_starts = 0
        self._next_hire = self._next_look = 0.0
        self._begin()

    def _begin(self) -> None:
        self._said = self._head_seen = self._began = time.monotonic()

    @property
    def nodes(self) -> set[str]:
        """Where workers have their places."""
        return {member.node for member in self._members if member.node}

    @property
    def places(self) -> set[str]:
        """The same, and "" as long as somebody may still find a place, perhaps on another node."""
        since = time.monotonic() - (_ARRIVAL if self._failed_starts < TRIES else 0.0)
        return {each.node for each in self._members if each.node or each.since > since}

    @property
    def size(self) -> int:
        """How many workers have a place."""
        return sum(bool(member.node) for member in self._members)

    def tend(self, wanted: int) -> None:
        """From time to time: ask for workers as there is room, leave nodes that will be gone.

        Raises:
            RequestError: no type of node of this cluster could seat a worker.
            IncompleteError: the cluster's head is gone.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK
        before, self._head_seen = self._head_seen, require_head(self._head_seen)
        if self._head_seen == before:
            return  # it does not answer, and whoever asks it waits
        self._draining = draining()
        for member in [each for each in self._members if each.node in self._draining]:
            if member.unit is None:
                self._send_home(member)
        self._hire(wanted, now)
        if not self.nodes:
            self._say_waiting(now)

    def _hire(self, wanted: int, now: float) -> None:
        there, found = self.size, room(self.seats)
        most = min(wanted, self.seats.workers or wanted)
        if not autoscales():
            most = min(most, max(1, found))
        elif self.seats.workers is None:
            most = min(most, max(2 * there + _FIRST, found))
        while len(self._members) < most and now >= self._next_hire:
            options = {"num_cpus": self.seats.cpus, "num_gpus": self.seats.gpus, "max_restarts": 0}
            actor: Any = ray.remote(Worker).options(**options, memory=self.seats.memory or None)
            member = Member(
                actor.remote("cuda" if self.seats.gpus else "cpu", self.seats.gpus), since=now
            )
            self._members.append(member)
            self._promises[member.actor.ready.remote()] = member

    def _say_waiting(self, now: float) -> None:
        if 0 < len(self._members) <= refused(self.seats.resources):
            raise RequestError(
                f"No type of node that the cluster's autoscaler knows could hold a worker with "
                f"{self.seats}; ask for less, or add such a type."
            )
        has_room = room(self.seats) > 0
        if now - self._began < (_PATIENCE if has_room else _SHORT_PATIENCE):
            return
        if self._said > self._began and now - self._said < _SILENT:
            return
        self._said = now
        if has_room:
            log.warning("Waiting for room: all that the cluster has is in use by others.")
        else:
            who = "its autoscaler is asked for one" if autoscales() else "it has no autoscaler"
            log.warning(
                "Waiting for a node with %s: the cluster has none, and %s.", self.seats, who
            )

    def idle(self) -> list[Member]:
        """Who has a place on a node that is trusted and will stay, and has nothing to do."""
        trusted = self.trust.open(self.nodes, time.monotonic()) - self._draining
        return [each for each in self._members if each.node in trusted and each.unit is None]

    def bring(self, job: Job[Any, Any, Any]) -> Sequence[Any]:
        """Send a job to where workers find it: a reference, in a list."""
        return [ray.put(job)]

    def start(self, member: Member, unit: Unit, job: Sequence[Any], what: str) -> None:
        """Give a unit to someone who is idle."""
        member.unit, member.since = unit, time.monotonic()
        self._promises[member.actor.do.options(name=what).remote(job, unit.content)] = member

    def longer_than(self, seconds: float) -> Iterator[tuple[Member, Unit, float]]:
        """Who has been at a unit for longer, and for how long."""
        return at_it_for_longer(self._members, seconds)

    def end(self, timeout: float) -> End | None:
        """Wait a while for a worker that has found its place, or has done a unit or failed with it.

        Returns:
            The unit that ended; None if there is none.

        Raises:
            RequestError: the cluster's processes cannot run this project.
            IncompleteError: one worker after another could not even start.
        """
        if not self._promises:
            time.sleep(timeout)
            return None
        ready, _ = ray.wait(list(self._promises), timeout=timeout)
        if not ready:
            return None
        member = self._promises.pop(ready[0])
        unit, member.unit = member.unit, None
        seconds = time.monotonic() - member.since
        try:
            result = ray.get(ready[0])
        except RayTaskError as error:
            return End(unit, member.node, seconds, error=error.cause) if unit else None
        except RayError as error:
            node = member.node
            self._send_home(member)  # out of reach is not always dead, and then it keeps its place
            if unit is None:
                self._start_failed(error)
                return None
            return End(unit, node, seconds, error=error, lost=True)
        if unit is None:
            member.node, self._failed_starts = result, 0
            return None
        return End(unit, member.node, seconds, result)

    def _start_failed(self, error: RayError) -> None:
        self._failed_starts += 1
        pause = min(_LONGEST_PAUSE, 2.0**self._failed_starts / 4)
        self._next_hire = time.monotonic() + pause
        log.warning("A worker could not start: %s", last_line(error))
        if self.nodes or self._failed_starts < 2 * TRIES:
            return
        if isinstance(error, ActorDiedError) and "creation task" in str(error):
            raise RequestError(
                f"The cluster's workers cannot run deconv-atlas ({last_line(error)}); "
                "install the same version there."
            ) from error
        raise IncompleteError(
            f"No worker could start: {first_line(error)}. "
            "Mend the cluster, then give the same command again."
        ) from error

    def _send_home(self, member: Member) -> None:
        ray.kill(member.actor)
        self._members.remove(member)
        self._promises = {ref: who for ref, who in self._promises.items() if who is not member}

    def replace(self, member: Member) -> None:
        """Send home who hangs; another one is asked for at the next look."""
        self._send_home(member)
        self._next_look = 0.0

    def rest(self) -> None:
        """End what is still under way, which nobody needs any more."""
        for member, _, _ in list(self.longer_than(-1.0)):
            self._send_home(member)
        self._next_look = 0.0
        self._begin()

    def dismiss(self) -> None:
        """Send everyone home, whatever they are at."""
        while self._members:
            ray.kill(self._members.pop().actor)
        self._promises.clear()
