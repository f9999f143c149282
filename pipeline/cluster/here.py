"""A crew of threads in this process, for what is done before a Ray would have started."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import torch

from pipeline.cluster.crew import End, Job, Member, at_it_for_longer
from pipeline.cluster.process import settle, share_of_node
from pipeline.cluster.seats import Seats, chosen_seats, require_room, room_on
from pipeline.cluster.work import Nodes, Unit
from pipeline.request import Workforce

_HERE = "here"
_NAME = "worker: "

Do = Callable[[Any], Any]


def is_enough() -> bool:
    """Whether this process can use all of this machine, which it cannot of several GPUs."""
    return torch.cuda.device_count() <= 1


def seats(asked: Workforce) -> Seats:
    """Seats for the workers asked for, or for as many as there is room for.

    Raises:
        RequestError: this machine has no room for them.
    """
    seat = chosen_seats(asked, [_node()])
    require_room(seat, [_node()])
    return seat


def is_at_work() -> bool:
    """Whether a worker is at something that nobody waits for any more.

    Python would pull the floor from under it at the end, which torch answers with an abort.
    """
    return any(thread.name.startswith(_NAME) for thread in threading.enumerate())


def _node() -> dict[str, float]:
    """What this process may use of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"CPU": cores(), "GPU": torch.cuda.device_count(), "memory": memory}


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads:
    """Workers that are threads and share what is prepared for a job, which a pass does not change.

    Attributes:
        seats: that they take.
        trust: which nodes get work: there is one.
    """

    def __init__(self, seats: Seats) -> None:
        self.seats, self.trust = seats, Nodes()
        self.places = {_HERE}
        self.size = seats.workers or room_on([_node()], seats)
        self._members = [Member(None, _HERE) for _ in range(self.size)]
        self._ends = SimpleQueue[tuple[Member, End]]()
        self._before = torch.get_num_threads()
        settle()
        if seats.gpus:
            share_of_node(seats.cpus)

    def tend(self, _: int) -> None:
        """All are here."""

    def idle(self) -> list[Member]:
        """Who has nothing to do."""
        return [member for member in self._members if member.unit is None]

    def bring(self, job: Job[Any, Any, Any]) -> Do:
        """Prepare for a job; nobody is at work yet, since tracing a net changes torch meanwhile."""
        return job.on("cuda" if self.seats.gpus else "cpu")

    def start(self, member: Member, unit: Unit, job: Do, what: str) -> None:
        """Give a unit to someone who is idle."""
        member.unit, member.since = unit, time.monotonic()
        arguments = (member, unit, job, member.since)
        Thread(target=self._work, args=arguments, name=f"{_NAME}{what}", daemon=True).start()

    def _work(self, member: Member, unit: Unit, job: Do, since: float) -> None:
        result, error = None, None
        try:
            result = job(unit.content)
        except BaseException as failure:  # whatever it is, the loop decides what comes of it
            error = failure
        seconds = time.monotonic() - since
        self._ends.put((member, End(unit, _HERE, seconds, result, error)))

    def longer_than(self, seconds: float) -> Iterator[tuple[Member, Unit, float]]:
        """Who has been at a unit for longer, and for how long."""
        return at_it_for_longer(self._members, seconds)

    def end(self, timeout: float) -> End | None:
        """The next unit that ended; None if there is none in time."""
        with suppress(Empty):
            member, end = self._ends.get(timeout=timeout)
            if member in self._members:  # else somebody who was sent home
                member.unit = None
                return end
        return None

    def replace(self, member: Member) -> None:
        """Leave a thread that hangs to itself."""
        self._members.remove(member)
        self._members.append(Member(None, _HERE))

    def rest(self) -> None:
        """Leave what is still under way to itself."""
        for member, _, _ in list(self.longer_than(-1.0)):
            self.replace(member)

    def dismiss(self) -> None:
        """Leave everyone to what they are at."""
        self._members.clear()
        torch.set_num_threads(self._before)
