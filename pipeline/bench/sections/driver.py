"""What a driver can lead through Ray: how fast it hands out parts that take no time."""

import time
from collections.abc import Iterator, Sequence

from pipeline.bench.order import Order
from pipeline.bench.printer import Column, Finding
from pipeline.bench.sections.workers import no_gpus
from pipeline.cluster import session
from pipeline.cluster.crew import Job
from pipeline.cluster.here import cores
from pipeline.cluster.seats import Seats
from pipeline.cluster.shift import bounded

_PARTS = {True: 500, False: 5000}
_COLUMNS = {
    "parts": Column("parts", 0),
    "rate": Column("parts/s", 0),
    "cpu": Column("driver's CPU,\nms per part", 2),
}
_NOTES = (
    "A worker that takes s seconds for a part asks for 1 / s of them: a driver that hands out r",
    "parts a second keeps r × s workers at work.",
)


def measure(order: Order) -> Iterator[Finding]:
    """With as many workers as there are cores."""
    count, parts = cores(), _PARTS[order.short]
    with no_gpus(), session.connected("local"):
        list(_done(count, range(4 * count)))  # until all have a place
        rows = {f"{count} Ray workers, no time a part": _rates(_done(count, range(parts)), parts)}
    yield Finding("What a driver can lead", _COLUMNS, rows, {}, _NOTES)


def _done(workers: int, parts: Sequence[int]) -> Iterator[int]:
    job: Job[None, int, int] = Job(lambda _: None, lambda _, part: part)
    return bounded(job, parts, Seats(workers, cpus=1, gpus=0), "mine", str)


def _rates(ends: Iterator[int], parts: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in ends:
        pass
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"parts": parts, "rate": parts / wall, "cpu": 1000 * cpu / parts}
