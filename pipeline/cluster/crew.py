"""Who does the work of a job: the face of a crew, wherever it works."""

import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from pipeline.cluster.seats import Seats
from pipeline.cluster.work import Nodes, Unit

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


@dataclass(eq=False)
class Member:
    """A worker, its node once it has found its place, and what it is at since when."""

    actor: Any
    node: str = ""
    unit: Unit | None = None
    since: float = 0.0


@dataclass(frozen=True)
class End:
    """A unit that ended: its result, or what it failed with; `lost` if its worker died."""

    unit: Unit
    node: str
    seconds: float
    result: Any = None
    error: BaseException | None = None
    lost: bool = False


def at_it_for_longer(
    members: Iterable[Member], seconds: float
) -> Iterator[tuple[Member, Unit, float]]:
    """Those who have been at a unit for longer, and for how long."""
    now = time.monotonic()
    for member in list(members):
        if member.unit is not None and now - member.since > seconds:
            yield member, member.unit, now - member.since


class Crew(Protocol):
    """Workers who come and go, and are given one unit of work each.

    Attributes:
        seats: that they take.
        trust: which nodes get work.
    """

    seats: Seats
    trust: Nodes

    @property
    def places(self) -> Set[str]:
        """The nodes that have workers, and "" as long as somebody may still find a place."""

    @property
    def size(self) -> int:
        """How many workers have a place."""

    def tend(self, wanted: int) -> None:
        """From time to time: see to it that so many are at work, if there is room."""

    def idle(self) -> list[Member]:
        """Who has a place and nothing to do."""

    def bring(self, job: Job[Any, Any, Any]) -> Any:
        """Take a job to where workers find it; returns what `start` is told."""

    def start(self, member: Member, unit: Unit, job: Any, what: str) -> None:
        """Give a unit to someone who is idle."""

    def longer_than(self, seconds: float) -> Iterator[tuple[Member, Unit, float]]:
        """Who has been at a unit for longer, and for how long."""

    def end(self, timeout: float) -> End | None:
        """The next unit that ended; None if there is none in time."""

    def replace(self, member: Member) -> None:
        """Send home who hangs."""

    def rest(self) -> None:
        """End what is still under way, which nobody needs any more."""

    def dismiss(self) -> None:
        """Send everyone home, whatever they are at."""
