"""What a driver can lead: how fast it hands out parts that take no time, or a given one.

Net and decoding are replaced by a stand-in that only costs time, so that the driver is what is
measured: through Ray with as many workers as there are cores, and its loop alone with as many as
256, which are threads.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from pipeline.bench.order import Order
from pipeline.bench.printer import Column, Finding
from pipeline.bench.sections.workers import cores, no_gpus
from pipeline.cluster import session
from pipeline.cluster.crew import End, Job, Member
from pipeline.cluster.seats import Seats
from pipeline.cluster.shift import Shift, bounded
from pipeline.cluster.work import Nodes, Unit, Work

_PARTS = {True: 1281, False: 128_000}  # of a thousand images: ImageNet, and a hundred of it
_THROUGH_RAY = {True: 500, False: 5000}
_WORKERS = 256
_SECONDS = 0.05  # that a stand-in takes for a part; a GPU and its decoders take some
_COLUMNS = {
    "parts": Column("parts", 0),
    "rate": Column("parts/s", 0),
    "cpu": Column("driver's CPU,\nms per part", 2),
    "share": Column("of what its\nworkers could do", 2),
}
_NOTES = (
    "A worker that takes s seconds for a part asks for 1 / s of them: a driver that hands out r",
    "parts a second keeps r × s workers at work.",
)


class StandIns:
    """Threads in place of a `Crew`: each takes its time for a part, and finds nothing.

    Args:
        count: of them.
    """

    def __init__(self, count: int) -> None:
        self.trust, self.places = Nodes(), {"here"}
        self._members = [Member(None, "here") for _ in range(count)]
        self._pool, self._ends = ThreadPoolExecutor(count), SimpleQueue[tuple[Member, End]]()

    def tend(self, _: int) -> None:
        """All are here."""

    def idle(self) -> list[Member]:
        """Who has nothing to do."""
        return [member for member in self._members if member.unit is None]

    def start(self, member: Member, unit: Unit, *_: object) -> None:
        """Give a part to a thread."""
        member.unit, member.since = unit, time.monotonic()
        self._pool.submit(self._work, member, unit)

    def _work(self, member: Member, unit: Unit) -> None:
        time.sleep(_SECONDS)
        self._ends.put((member, End(unit, "here", _SECONDS)))

    def longer_than(self, _: float) -> Iterator[tuple[Member, Unit, float]]:
        """Nobody is late."""
        return iter(())

    def end(self, timeout: float) -> End | None:
        """The next part that is done, if there is one in time."""
        try:
            member, end = self._ends.get(timeout=timeout)
        except Empty:
            return None
        member.unit = None
        return end


def measure(order: Order) -> Iterator[Finding]:
    """The loop alone, and through Ray."""
    rows = {f"{_WORKERS} threads, {_SECONDS:g} s a part": _alone(_PARTS[order.short])}
    count = cores()
    with no_gpus(), session.connected("local"):
        list(_by_ray(count, range(4 * count)))  # until all have a place
        rows[f"{count} Ray workers, no time a part"] = _rates(
            _by_ray(count, range(_THROUGH_RAY[order.short])), _THROUGH_RAY[order.short]
        )
    yield Finding("What a driver can lead", _COLUMNS, rows, {"threads": _WORKERS}, _NOTES)


def _alone(parts: int) -> dict[str, float]:
    shift = Shift(StandIns(_WORKERS), Work(range(parts), str), [], "mine")  # type: ignore[arg-type]

    def ends() -> Iterator[object]:
        while shift.work.left:
            end = shift.turn()
            if end is not None and shift.settle(end):
                yield end

    row = _rates(ends(), parts)
    return {**row, "share": row["rate"] * _SECONDS / _WORKERS}


def _by_ray(workers: int, parts: Sequence[int]) -> Iterator[int]:
    job: Job[None, int, int] = Job(lambda _: None, lambda _, part: part)
    return bounded(job, parts, Seats(workers, cpus=1, gpus=0), "mine", str)


def _rates(ends: Iterator[object], parts: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in ends:
        pass
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"parts": parts, "rate": parts / wall, "cpu": 1000 * cpu / parts}
