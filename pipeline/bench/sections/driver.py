"""What a driver can lead: how fast it hands out parts that take no time, or a given one.

Net and decoding are replaced by a stand-in that only costs time, so that the driver is what is
measured: through Ray with as many workers as there are cores, and its loop alone with as many as
256, which are threads.
"""

import time
from collections.abc import Iterator, Sequence

from pipeline.bench.order import Order
from pipeline.bench.printer import Column, Finding
from pipeline.bench.sections.workers import no_gpus
from pipeline.cluster import session
from pipeline.cluster.crew import Job
from pipeline.cluster.here import Threads, cores
from pipeline.cluster.seats import Seats
from pipeline.cluster.shift import Shift, bounded
from pipeline.cluster.work import Work

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
    crew = Threads(Seats(_WORKERS, cpus=1, gpus=0))
    job: Job[None, int, None] = Job(lambda _: None, lambda _, __: time.sleep(_SECONDS))
    shift = Shift(crew, Work(range(parts), str), crew.bring(job), "mine")

    def ends() -> Iterator[object]:
        while shift.work.left:
            end = shift.turn()
            if end is not None and shift.settle(end):
                yield end

    row = _rates(ends(), parts)
    crew.dismiss()
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
