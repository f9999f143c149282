"""How rivals are measured: one after the other, and again."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from pipeline.bench.printer import Column, Row
from pipeline.cluster.process import settle
from pipeline.progress import progress

Work = Callable[[], int]  # does something and returns how many images it was
Rival = Callable[[], Mapping[str, float]]  # does something and returns quantities by their keys

RATE, CPU = "images_per_second", "cpu_ms_per_image"
SPEED = {RATE: Column("images/s"), CPU: Column("CPU ms\nper image", 2)}


def rounds(rivals: Mapping[Any, Rival], repeats: int, what: str, warm: int = 1) -> dict[Any, Row]:
    """Run the rivals in turn: `warm` times that do not count, and then `repeats` times."""
    measured: dict[Any, list[Mapping[str, float]]] = {name: [] for name in rivals}
    with progress(f"{what}, rounds", warm + repeats) as advance:
        for _ in range(warm + repeats):
            for name, rival in rivals.items():
                measured[name].append(rival())
            advance(1)
    return {
        name: {key: np.array([each[key] for each in told[warm:]]) for key in told[0]}
        for name, told in measured.items()
    }


def race(works: Mapping[Any, Work], repeats: int, what: str, warm: int = 1) -> dict[Any, Row]:
    """The speeds of some works, with the columns `SPEED`; all on one core."""
    with one_core():
        rivals = {name: partial(timed, work) for name, work in works.items()}
        return rounds(rivals, repeats, what, warm)


def timed(work: Work) -> dict[str, float]:
    """How fast some work is in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    images = work()
    return speed(images, time.perf_counter() - wall, time.process_time() - cpu)


def speed(images: int, seconds: float, cpu_seconds: float) -> dict[str, float]:
    """Images per second of wall time, and milliseconds of processor time for each."""
    return {RATE: images / seconds, CPU: 1000 * cpu_seconds / images}


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor seconds that something takes in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


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
