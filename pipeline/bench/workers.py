"""Ray's workers against plain processes, one and two of each, and against what bounds them.

One run of each tells its fixed and its marginal cost apart: it mines the same two parts over and
over, and the clock is read when a quarter is done, and when all is.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.bench.alone import Kind, Resident, fastest, residents, together
from pipeline.bench.figures import Block, Column, Figure, Finding, bound, combined
from pipeline.bench.order import TOP_K, Order, Subject, load, run_store, subject
from pipeline.bench.processes import descendants, seconds_between
from pipeline.bench.rounds import CPU, RATE, Speed
from pipeline.cluster import connection, crew
from pipeline.cluster import stages as cluster
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store
from pipeline.terminal import progress

_GPUS = "CUDA_VISIBLE_DEVICES"

_START = Column("start_seconds", "start, s", 2)
_OF_BOUND = Column("of_bound", "of the\nbound", 2)
_OF_BOUND_CPU = Column("of_bound_cpu", "of it, by\nCPU time", 2)
_AGAINST_PLAIN = Column("against_plain", "Ray\nagainst plain", 2)
_AGAINST_ONE = Column("against_one", "two\nagainst one", 2)
_NOTES = (
    "Start: from the call until mining could have begun, imports and the net included. The rest is",
    "after it. Bound: net and decoding alone, in 1 or 2 processes. Nothing is pinned: one worker's",
    "decoding may use a free second core and so pass the bound of one; its CPU time cannot.",
)


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        repeats: of everything.
        passes: over the images, that are mined in each.
        alone: passes of the net alone and of decoding alone.
    """

    repeats: int
    passes: int
    alone: int

    @classmethod
    def of(cls, order: Order) -> "Size":
        """Of the short form, whose subjects have few images, or of the full one."""
        return cls(1, passes=2, alone=1) if order.short else cls(order.repeats, passes=4, alone=1)


@dataclass(frozen=True)
class Done:
    """A part that was mined.

    Attributes:
        moment: when, in seconds after the start.
        images: in it.
        cpu: processor seconds that it took.
    """

    moment: float
    images: int
    cpu: float


@dataclass(frozen=True)
class Course:
    """How the mining of many parts went.

    Attributes:
        start: fixed seconds, until mining could have begun.
        rate: images per second after that.
        cpu: processor milliseconds per image after that.
    """

    start: float
    rate: float
    cpu: float

    @classmethod
    def of(cls, parts: Sequence[Done], first: int) -> "Course":
        """From the parts that were done, in any order.

        Args:
            parts: all of them.
            first: images after which the clock is read for the first time, all workers at work.
        """
        ordered = sorted(parts, key=lambda part: part.moment)
        images, passed = 0, 0
        while images < first:
            images += ordered[passed].images
            passed += 1
        rest = ordered[passed:]
        more = sum(part.images for part in rest)
        moment = ordered[passed - 1].moment
        rate = more / (rest[-1].moment - moment)
        return cls(moment - images / rate, rate, 1000 * sum(part.cpu for part in rest) / more)


Courses = dict[str, list[Course]]
"""Who → the course of each repeat."""

Alone = dict[Kind, list[tuple[float, float]]]
"""Net or decoding → images/s and CPU milliseconds per image, of each repeat."""


def bench_workers(order: Order) -> Iterator[Finding]:
    """One and two workers and processes on each net, interleaved; Ray is started once."""
    size = Size.of(order)
    counts = range(1, min(2, _cores()) + 1)
    subjects = [subject(order, net) for net in order.nets]
    chosen = [fastest(one) for one in subjects]
    began = time.monotonic()
    with _no_gpus(), connection.connected("local"):
        ray_start = time.monotonic() - began
        for one, arrangement in zip(subjects, chosen, strict=True):
            with (
                residents("net", one, arrangement, len(counts)) as nets,
                residents("decoding", one, arrangement, len(counts)) as decoders,
            ):
                measured = _measure(one, run_store(order), size, counts, nets, decoders)
            yield _block(one, size, *measured, ray_start)


def _measure(
    one: Subject,
    run: Store,
    size: Size,
    counts: Sequence[int],
    nets: Sequence[Resident],
    decoders: Sequence[Resident],
) -> tuple[dict[int, Courses], dict[int, Alone]]:
    """For each number of workers: plain processes and Ray, and what bounds them."""
    rivals: dict[str, Callable[[Subject, Store, int, int], list[Done]]] = {
        "plain": _plain,
        "Ray": _by_ray,
    }
    courses: dict[int, Courses] = {count: {name: [] for name in rivals} for count in counts}
    alone: dict[int, Alone] = {count: {"net": [], "decoding": []} for count in counts}
    with progress(f"workers on {one.net}, rounds", size.repeats + 1) as advance:
        _by_ray(one, run, max(counts), passes=1)  # the first actors of all wait for Ray itself
        advance(1)
        for _ in range(size.repeats):
            for count in counts:
                alone[count]["net"].append(together(nets[:count], size.alone))
                alone[count]["decoding"].append(together(decoders[:count], size.alone))
                for name, rival in rivals.items():
                    parts = rival(one, run, count, size.passes)
                    courses[count][name].append(Course.of(parts, _first(one, size)))
            advance(1)
    return courses, alone


def _first(one: Subject, size: Size) -> int:
    """Images in a quarter of what is mined."""
    return one.images * size.passes // 4


def _by_ray(one: Subject, run: Store, workers: int, passes: int) -> list[Done]:
    net, dataset = load(one.net), open_dataset(one.data)
    targets = [cluster.Target(net, [layer.name for layer in net.graph.layers], run)]
    work = [(part, (0,)) for part in dataset.parts()] * passes
    done, spent, start = [], descendants(), time.monotonic()
    for part in cluster.mine(targets, dataset, work, TOP_K, "exact", workers):
        before, spent = spent, descendants()
        moment = time.monotonic() - start
        done.append(Done(moment, part.images, seconds_between(before, spent)))
    crew.dismiss()  # the next ones start anew
    return done


def _plain(one: Subject, run: Store, count: int, passes: int) -> list[Done]:
    start = time.monotonic()  # the same clock in all processes
    command = [sys.executable, "-m", "pipeline.bench.plain", one.net, one.data, run.url]
    started = [
        subprocess.Popen(
            [*command, f"{share}/{count}", str(passes)], stdout=subprocess.PIPE, text=True
        )
        for share in range(count)
    ]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("a plain process has died; what it said is above")
    return [
        Done(moment - start, images, cpu)
        for lines in said
        for moment, images, cpu in json.loads(lines)
    ]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _no_gpus() -> Iterator[None]:
    """Ray finds no accelerator: the plain processes have none either."""
    before = os.environ.get(_GPUS)
    os.environ[_GPUS] = ""
    try:
        yield
    finally:
        del os.environ[_GPUS]
        if before is not None:
            os.environ[_GPUS] = before


# --- what is told -----------------------------------------------------------------------------


def _block(
    one: Subject,
    size: Size,
    courses: Mapping[int, Courses],
    alone: Mapping[int, Alone],
    ray_start: float,
) -> Finding:
    rows: dict[str, dict[str, Figure]] = {}
    first = _first(one, size)
    for count, of_count in courses.items():
        nouns = ("worker", "process") if count == 1 else ("workers", "processes")
        limit = _bound(alone[count])
        plain, ray = (of_count[name] for name in ("plain", "Ray"))
        rows[f"{count} plain {nouns[1]}"] = _row(plain, limit) | _scaled(plain, courses[1]["plain"])
        rows[f"{count} Ray {nouns[0]}"] = (
            _row(ray, limit)
            | _scaled(ray, courses[1]["Ray"])
            | {_AGAINST_PLAIN.key: _rate(ray) / _rate(plain)}
        )
        rows[f"bound of {count} {nouns[1]}"] = limit.row()
    columns = (_START, RATE, CPU, _OF_BOUND, _OF_BOUND_CPU, _AGAINST_PLAIN, _AGAINST_ONE)
    return Block(
        f"Workers on {one.net}: {first} images, then {3 * first} more, all layers, k = {TOP_K}",
        columns,
        rows,
        {"net": one.net, "images": 4 * first, "ray_start_seconds": ray_start},
        (*_NOTES, f"Ray itself had started before, in {ray_start:.1f} s."),
    ).finding()


def _row(courses: Sequence[Course], limit: Speed) -> dict[str, Figure]:
    start = Figure(tuple(course.start for course in courses))
    cpu = Figure(tuple(course.cpu for course in courses))
    row = {_START.key: start, RATE.key: _rate(courses), _OF_BOUND.key: _rate(courses) / limit.rate}
    return row | ({CPU.key: cpu, _OF_BOUND_CPU.key: limit.cpu / cpu} if all(cpu.values) else {})


def _scaled(courses: Sequence[Course], single: Sequence[Course]) -> dict[str, Figure]:
    return {} if courses is single else {_AGAINST_ONE.key: _rate(courses) / _rate(single)}


def _rate(courses: Sequence[Course]) -> Figure:
    return Figure(tuple(course.rate for course in courses))


def _bound(alone: Alone) -> Speed:
    (net, net_cpu), (decoding, decoding_cpu) = (
        (Figure(tuple(rate for rate, _ in some)), Figure(tuple(cpu for _, cpu in some)))
        for some in (alone["net"], alone["decoding"])
    )
    return Speed(bound(net, decoding), combined(lambda a, b: a + b, net_cpu, decoding_cpu))
