"""How rivals are measured: one after the other, and again."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

import numpy as np
import torch

from pipeline.bench.printer import Column, Row
from pipeline.cluster.process import settle
from pipeline.terminal import progress

_T = TypeVar("_T")

Work = Callable[[], int]  # does something and returns how many images it was
Rival = Callable[[], int | Mapping[str, float]]  # such a work, or what measures something itself

RATE, CPU = "images_per_second", "cpu_ms_per_image"
SPEED = {RATE: Column("images/s"), CPU: Column("CPU ms\nper image", 2)}

_HOPE = 0.8  # of the fastest: the first try of all is a cold one


def rounds(rivals: Mapping[Any, Rival], repeats: int, what: str, warm: int = 1) -> dict[Any, Row]:
    """Run the rivals in turn: `warm` times that do not count, and then `repeats` times."""
    told: dict[Any, list[Mapping[str, float]]] = {name: [] for name in rivals}
    with progress(f"{what}, rounds", warm + repeats) as advance:
        for _ in range(warm + repeats):
            for name, rival in rivals.items():
                told[name].append(measured(rival))
            advance(1)
    return {
        name: {key: np.array([each[key] for each in all_told[warm:]]) for key in all_told[0]}
        for name, all_told in told.items()
    }


def measured(rival: Rival) -> Mapping[str, float]:
    """What a rival measures itself; of a work its speed in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = rival()
    if isinstance(done, Mapping):
        return done
    return speed(done, time.perf_counter() - wall, time.process_time() - cpu)


def speed(images: int, seconds: float, cpu_seconds: float) -> dict[str, float]:
    """Images per second of wall time, and milliseconds of processor time for each."""
    return {RATE: images / seconds, CPU: 1000 * cpu_seconds / images}


def quickest(works: Mapping[_T, Work]) -> _T:
    """What takes the least processor time for an image; what is far behind has no second try."""
    first = {name: measured(work)[CPU] for name, work in works.items()}
    hopeful = [name for name in works if _HOPE * first[name] <= min(first.values())]
    return min(hopeful, key=lambda name: min(first[name], measured(works[name])[CPU]))


@contextmanager
def one_core() -> Iterator[None]:
    """Set this process up as a worker, and keep it, its threads and its children on one core."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    threads = torch.get_num_threads()
    settle()
    if cores:
        os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if cores:
            os.sched_setaffinity(0, cores)


@contextmanager
def processes(count: int) -> Iterator[list[ProcessPoolExecutor]]:
    """Fresh processes that inherit nothing, set up as workers; each does what it is given."""
    with ExitStack() as stack:
        pools = [ProcessPoolExecutor(1, get_context("spawn"), settle) for _ in range(count)]
        yield [stack.enter_context(pool) for pool in pools]


def at_once(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do each in a fresh process of its own, all at the same time."""
    with processes(len(works)) as pools:
        results = [pool.submit(work) for pool, work in zip(pools, works, strict=True)]
        return [result.result() for result in results]
