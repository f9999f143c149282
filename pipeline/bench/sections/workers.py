"""Ray's workers against plain processes, one and two of each, and against what bounds them.

One run of each tells its fixed and its marginal cost apart: it mines the same two parts over and
over, and the clock is read when a quarter is done, and when all is.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.bench.order import TOP_K, Order, load
from pipeline.bench.printer import Column, Finding, Row
from pipeline.bench.runner import CPU, RATE, SPEED, Rival, at_once, processes, rounds, speed
from pipeline.bench.sections.mining import Done, Fastest, bound, fastest, mine_share, work_alone
from pipeline.cluster import session
from pipeline.cluster import stages as cluster
from pipeline.cluster.here import cores
from pipeline.request import MineRequest

_GPUS = "CUDA_VISIBLE_DEVICES"
_PASSES = {True: 2, False: 4}  # over the images; whether short, with few of them
_NAMES = {
    1: ("1 plain process", "1 Ray worker", "bound of 1 process"),
    2: ("2 plain processes", "2 Ray workers", "bound of 2 processes"),
}
_COLUMNS = {
    "start_seconds": Column("start, s", 2),
    **SPEED,
    "of_bound": Column("of the\nbound", 2),
    "of_bound_cpu": Column("of it, by\nCPU time", 2),
    "against_plain": Column("Ray\nagainst plain", 2),
    "against_one": Column("two\nagainst one", 2),
}
_NOTES = (
    "Start: from the call until mining could have begun, imports and the net included. The rest is",
    "after it. Bound: net and decoding alone, in 1 or 2 processes. Nothing is pinned: one worker's",
    "decoding may use a free second core and so pass the bound of one; its CPU time cannot.",
)


def measure(order: Order) -> Iterator[Finding]:
    """One and two workers and processes, interleaved."""
    arrangement, began = fastest(order), time.monotonic()
    with no_gpus(), session.connected("local"):
        started = time.monotonic() - began
        rows = _rows(_measure(order, arrangement))
    images = order.images * _PASSES[order.short]
    amount = f"{images // 4} images, then {images - images // 4} more"
    title = f"Workers on {order.net}: {amount}, all layers, k = {TOP_K}"
    facts = {"net": order.net, "images": images, "ray_start_seconds": started}
    notes = (*_NOTES, f"Ray itself had started before, in {started:.1f} s.")
    yield Finding(title, _COLUMNS, rows, facts, notes)


@contextmanager
def no_gpus() -> Iterator[None]:
    """Ray finds no accelerator: the plain processes have none either.

    No other variable is put back: what Ray sets for this process has to stay.
    """
    before = os.environ.get(_GPUS)
    os.environ[_GPUS] = ""
    try:
        yield
    finally:
        del os.environ[_GPUS]
        if before is not None:
            os.environ[_GPUS] = before


def _measure(order: Order, arrangement: Fastest) -> dict[tuple[str, int], Row]:
    """For each number of processes or workers: net and decoding alone, plain ones, and Ray's."""
    counts, passes = range(1, min(2, cores()) + 1), _PASSES[order.short]
    rivals: dict[tuple[str, int], Rival] = {}
    with processes(max(counts)) as pools:
        for count in counts:
            for kind in ("net", "decoding"):
                rivals[kind, count] = partial(_together, order, arrangement, kind, pools[:count])
            rivals["plain", count] = partial(_plain, order, count, passes)
            rivals["Ray", count] = partial(_by_ray, order, count, passes)
        for kind in ("net", "decoding"):  # warm
            rivals[kind, max(counts)]()
        _by_ray(order, max(counts), passes=1)  # the first actors of all wait for Ray itself
        repeats = order.repeats_of_long(1)
        return rounds(rivals, repeats, f"workers on {order.net}", warm=0)


def _together(
    order: Order, arrangement: Fastest, kind: str, pools: Sequence[ProcessPoolExecutor]
) -> dict[str, float]:
    """The net or decoding alone, in some processes side by side."""
    start = time.perf_counter()
    working = [pool.submit(work_alone, kind, order, arrangement) for pool in pools]
    cpu = [future.result()[CPU] for future in working]
    rate = order.images * len(pools) / (time.perf_counter() - start)
    return {RATE: rate, CPU: sum(cpu) / len(cpu)}


def _plain(order: Order, count: int, passes: int) -> dict[str, float]:
    start = time.monotonic()
    shares = at_once([partial(mine_share, order, passes, count, n) for n in range(count)])
    return course(start, [part for share in shares for part in share])


def _by_ray(order: Order, count: int, passes: int) -> dict[str, float]:
    net, dataset = load(order.net), order.dataset
    targets = [cluster.Target(net, [layer.name for layer in net.graph.layers], order.run)]
    work = [(part, (0,)) for part in dataset.parts()] * passes
    asked = MineRequest(data=dataset.url, run=order.run.url, top_k=TOP_K, workers=count)
    done, spent, start = [], _spent(), time.monotonic()
    for part in cluster.mine(targets, dataset, work, "exact", asked):
        before, spent = spent, _spent()
        cpu = sum(seconds - before.get(pid, 0.0) for pid, seconds in spent.items())
        done.append((time.monotonic(), part.images, cpu))
    session.dismiss()  # the next ones start anew
    return course(start, done)


def course(start: float, parts: Sequence[Done]) -> dict[str, float]:
    """How mining went that was called at `start`: fixed seconds, and the speed after those.

    The clock is read when a quarter of the images is done, all workers at work, and at the end.
    """
    moment, images, cpu = np.array(sorted(parts)).T
    done = images.cumsum()
    first = int(np.searchsorted(done, done[-1] / 4))
    speeds = speed(done[-1] - done[first], moment[-1] - moment[first], cpu[first + 1 :].sum())
    return {"start_seconds": moment[first] - start - done[first] / speeds[RATE], **speeds}


def _spent() -> dict[int, float]:
    """Process → CPU seconds of all living descendants; of none where there is no ``/proc``."""
    parents, spent = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            fields = status.read_text().rpartition(")")[2].split()  # a name may hold blanks
            pid = int(status.parent.name)
            parents[pid] = int(fields[1])
            spent[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    family, size = {os.getpid()}, 0
    while len(family) > size:
        size = len(family)
        family |= {pid for pid, parent in parents.items() if parent in family}
    return {pid: spent[pid] for pid in family - {os.getpid()}}


def _rows(measured: Mapping[tuple[str, int], Row]) -> dict[str, Row]:
    """The table's rows; those of one process or worker come first."""
    rows: dict[str, Row] = {}
    for count in sorted({count for _, count in measured}):
        limit = bound(measured["net", count], measured["decoding", count])
        plain, ray = measured["plain", count], measured["Ray", count]
        ray["against_plain"] = ray[RATE] / plain[RATE]
        for row, single in ((plain, measured["plain", 1]), (ray, measured["Ray", 1])):
            row["of_bound"] = row[RATE] / limit[RATE]
            if count > 1:
                row["against_one"] = row[RATE] / single[RATE]
            if row[CPU].all():
                row["of_bound_cpu"] = limit[CPU] / row[CPU]
            else:  # where there is no ``/proc``
                del row[CPU]
        rows |= dict(zip(_NAMES[count], (plain, ray, limit), strict=True))
    return rows
