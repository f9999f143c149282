"""A whole run over as many images as one likes: net and decoding alone are stand-ins.

They cost a worker time and no more. Listing, the loop that leads the workers, here 256 threads,
the record of how far it is, the heaps that lie there and merging them are those of `mine`.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from pipeline import schema
from pipeline.bench.made_up import IMAGES, MadeUp
from pipeline.bench.order import TOP_K, Order, load
from pipeline.bench.printer import Column, Finding
from pipeline.bench.runner import at_once
from pipeline.bench.sections.memory import peak_of_this_process
from pipeline.bench.sections.workers import no_gpus
from pipeline.cluster import session, stages
from pipeline.cluster.crew import Job
from pipeline.cluster.here import cores
from pipeline.cluster.seats import Seats
from pipeline.cluster.shift import bounded
from pipeline.commands.report import reported
from pipeline.data.demo.images import shard_bytes
from pipeline.data.formats.dataset import Dataset, find_dataset
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.data.stored.listing import keep_listing
from pipeline.request import Workforce
from pipeline.stages.merging.merge import merge
from pipeline.stages.part import PartDone

_PARTS = {True: (1281,), False: (1281, 128_000)}  # ImageNet, and a hundred of it
_WORKERS = 256
_SECONDS = {True: 0.05, False: 0.5}  # that a worker takes for a part
_MOST_MAPS = 2000  # of a net whose heaps may be so many; merging others would take hours
_MOST_LINKS = 50_000  # to one file, which any disk allows
_COLUMNS = {
    "seconds": Column("seconds", 1),
    "cpu": Column("CPU, s", 1),
    "share": Column("of what its\nworkers could do", 2),
    "peak": Column("peak,\nMiB", 0),
}


def measure(order: Order) -> Iterator[Finding]:
    """Each size in a process of its own."""
    maps = sum(layer.maps for layer in load(order.net).graph.layers)
    for parts in _PARTS[order.short or maps > _MOST_MAPS]:
        seconds = _SECONDS[order.short]
        folder = order.folder / f"scale-{parts}"
        (rows,) = at_once([partial(_run, order.net, folder, parts, seconds)])
        shutil.rmtree(folder)
        title = f"A run of {order.net} over {parts * IMAGES:,} images, k = {TOP_K}"
        notes = (
            f"{parts:,} shards of {IMAGES:,}; {_WORKERS} workers that take {seconds:g} s for one;",
            f"merging by {cores()} threads. The peak is the most held up to then.",
        )
        yield Finding(title, _COLUMNS, rows, {"net": order.net, "parts": parts}, notes)


def _run(net: str, folder: Path, parts: int, seconds: float) -> dict[str, dict[str, float]]:
    """Each stage's figures."""
    _shards(folder / "shards", parts)
    run = Store(folder / "run")
    made = MadeUp(load(net), run, TOP_K)
    run.write(schema.RUN, made.spec.model_dump_json().encode())
    rows: dict[str, dict[str, float]] = {"imports and what is prepared": {}}
    rows["imports and what is prepared"]["peak"] = peak_of_this_process()
    dataset, rows["listing"] = _timed(lambda: _listed(folder / "shards", run))
    names = [part.name for part in dataset.parts()]
    with no_gpus(), session.connected(pictures=0):
        _, rows["mining"] = _timed(lambda: _mined(run, made, dataset.parts(), seconds))
        rounds = ceil(parts / _WORKERS)
        rows["mining"]["share"] = rounds * seconds / rows["mining"]["seconds"]
        workers = stages.Merging(run, Workforce())
        _, rows["merging"] = _timed(lambda: merge(run, made.spec, names, workers=workers))
    return rows


def _shards(folder: Path, count: int) -> None:
    """So many of them, of one picture each: nothing else reads them."""
    folder.mkdir(parents=True)
    shard = shard_bytes(range(1))
    for number in range(count):
        place = folder / f"train-{number:06d}.tar"
        if number % _MOST_LINKS == 0:
            place.write_bytes(shard)
            first = place
        else:
            os.link(first, place)


def _listed(folder: Path, run: Store) -> Dataset:
    dataset = find_dataset(str(folder)).open()
    dataset.parts()
    keep_listing(run, dataset)
    return dataset


def _mined(run: Store, made: MadeUp, parts: list[Part], seconds: float) -> None:
    def do(_: None, unit: tuple[int, Part]) -> PartDone:
        number, part = unit
        time.sleep(seconds)
        made.put(number, part.name)
        return PartDone(part.name, IMAGES, 0)

    job: Job[None, tuple[int, Part], PartDone] = Job(lambda _: None, do)
    units, seats = list(enumerate(parts)), Seats(_WORKERS, cpus=1, gpus=0)
    with reported([run], "mine", "mining, parts", len(parts)) as report:
        for done in bounded(job, units, seats, "mine", lambda unit: unit[1].name):
            report.part(done)


def _timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, {"seconds": wall, "cpu": cpu, "peak": peak_of_this_process()}
