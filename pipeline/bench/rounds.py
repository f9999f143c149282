"""How rivals are measured: one after the other, and again, all on one processor core."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from pipeline.bench.figures import Column, Figure
from pipeline.cluster.process import settle
from pipeline.terminal import progress

Rival = Callable[[], int]
"""Does some work and returns how many images it was."""

RATE = Column("images_per_second", "images/s")
CPU = Column("cpu_ms_per_image", "CPU ms\nper image", 2)


@dataclass(frozen=True)
class Speed:
    """How fast a rival was.

    Attributes:
        rate: images per second of wall time.
        cpu: milliseconds of processor time per image.
    """

    rate: Figure
    cpu: Figure

    def row(self) -> dict[str, Figure]:
        """For a block with the columns `RATE` and `CPU`."""
        return {RATE.key: self.rate, CPU.key: self.cpu}


def rounds(rivals: Mapping[str, Rival], repeats: int, what: str) -> dict[str, Speed]:
    """Run the rivals in turn: once to warm up, and then `repeats` times."""
    rates: dict[str, list[float]] = {name: [] for name in rivals}
    cpus: dict[str, list[float]] = {name: [] for name in rivals}
    with progress(f"{what}, rounds", repeats + 1) as advance:
        for repeat in range(repeats + 1):
            for name, work in rivals.items():
                wall, cpu = time.perf_counter(), time.process_time()
                images = work()
                if repeat:
                    rates[name].append(images / (time.perf_counter() - wall))
                    cpus[name].append(1000 * (time.process_time() - cpu) / images)
            advance(1)
    return {name: Speed(Figure(tuple(rates[name])), Figure(tuple(cpus[name]))) for name in rivals}


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, its threads and its children on one core, with one thread for torch."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with one_thread():
        if cores:
            os.sched_setaffinity(0, {max(cores)})
        try:
            yield
        finally:
            if cores:
                os.sched_setaffinity(0, cores)


@contextmanager
def one_thread() -> Iterator[None]:
    """Set this process up as a worker is."""
    threads = torch.get_num_threads()
    settle()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
