"""The net alone and decoding alone, each as fast as it gets: what bounds mining.

Run as a program, it is a process that waits, and does one of the two whenever it is told to.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from typing import IO, Literal, TypeVar, cast

import torch
from torch import Tensor

from pipeline.bench.order import Subject, load
from pipeline.bench.rounds import Rival, one_core
from pipeline.cluster.process import settle
from pipeline.core.nets.known import Net
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.decoding import decode
from pipeline.data.formats.dataset import Dataset, open_dataset

Kind = Literal["net", "decoding"]

_T = TypeVar("_T")
_BATCHES = (4, 8, 16, 32, 64, 128)
_THREADS = (0, 1, 2)
_AT_ONCE = 8  # pictures that a thread takes together
_TRIES = 2
_HOPE = 0.8  # of the fastest: the first try of all is a cold one


@dataclass(frozen=True)
class Fastest:
    """The arrangement in which each of the two was fastest when all were tried.

    Attributes:
        batch: images that the net takes at once.
        channels_last: the memory layout of its tensors.
        threads: that decode beside the one that waits; 0 means in the loop itself.
    """

    batch: int
    channels_last: bool
    threads: int

    def sentence(self) -> str:
        """For a reader."""
        layout = "channels last" if self.channels_last else "contiguous"
        threads = ("in the loop itself", "in a thread of its own", "in two threads")[self.threads]
        return f"Fastest alone: the net on batches of {self.batch}, {layout}; decoding {threads}."


@cache
def fastest(subject: Subject) -> Fastest:
    """Try all arrangements on one core: batches of 4 to 128, two layouts, 0 to 2 threads."""
    with one_core():
        batch, channels_last = _fastest_net(subject)
        dataset, preprocessing = open_dataset(subject.data), load(subject.net).preprocessing
        rivals = {threads: decoding(dataset, preprocessing, threads) for threads in _THREADS}
        threads = _quickest(rivals)
    return Fastest(batch, channels_last, threads)


def _fastest_net(subject: Subject) -> tuple[int, bool]:
    rivals: dict[tuple[int, bool], Rival] = {}
    for channels_last in (True, False):
        net = load(subject.net, channels_last=channels_last)
        for batch in _BATCHES:
            if batch <= subject.images:
                images = torch.rand(batch, 3, *net.preprocessing.input_size)
                tried = Fastest(batch, channels_last, threads=0)
                rivals[batch, channels_last] = _forward(net, [_laid_out(images, tried)])
    return _quickest(rivals)


def _quickest(rivals: Mapping[_T, Rival]) -> _T:
    """The name of the fastest rival in its best try; who is far behind is not tried again."""
    best = dict.fromkeys(rivals, 0.0)
    for _ in range(_TRIES):
        hopeful = [name for name in rivals if best[name] >= _HOPE * max(best.values())]
        for name in hopeful:
            start = time.process_time()  # on one core; not misled by what else goes on
            images = rivals[name]()
            best[name] = max(best[name], images / (time.process_time() - start))
    return max(best, key=best.__getitem__)


def net_alone(net: Net, dataset: Dataset, chosen: Fastest) -> Rival:
    """The net on pictures that are in memory already, as normalised batches."""
    prepared = torch.stack([_prepared(data, net.preprocessing) for data in _pictures(dataset)])
    stock = [
        _laid_out(net.preprocessing.normalise(prepared[at : at + chosen.batch]), chosen)
        for at in range(0, len(prepared), chosen.batch)
    ]
    return _forward(net, stock)


def _forward(net: Net, stock: Sequence[Tensor]) -> Rival:
    """The forward pass; nothing is kept longer than the net itself needs it."""
    nodes = {node.name: node for node in net.graph.trunk.graph.nodes}
    last = [
        layer.name
        for layer in net.graph.layers
        if all(user.op == "output" for user in nodes[layer.step].users)
    ]
    trunk = net.graph.only(last).trunk

    def work() -> int:
        with torch.inference_mode():
            for images in stock:
                trunk(images)
        return sum(map(len, stock))

    return work


def _laid_out(images: Tensor, chosen: Fastest) -> Tensor:
    layout = torch.channels_last if chosen.channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)


def decoding(dataset: Dataset, preprocessing: Preprocessing, threads: int) -> Rival:
    """Reading, decoding, resizing and cropping, in the loop itself or in so many threads."""

    def some(pictures: Sequence[bytes]) -> int:
        return len([_prepared(data, preprocessing) for data in pictures])

    def in_threads() -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(some, _chunks(_pictures(dataset))))

    def in_the_loop() -> int:
        return sum(map(some, _chunks(_pictures(dataset))))

    return in_threads if threads else in_the_loop


def _prepared(data: bytes, preprocessing: Preprocessing) -> Tensor:
    return preprocessing.prepare(decode(data))


def _pictures(dataset: Dataset) -> Iterator[bytes]:
    for part in dataset.parts():
        for sample in dataset.read(part):
            yield sample.data


def _chunks(pictures: Iterator[bytes]) -> Iterator[list[bytes]]:
    while chunk := list(islice(pictures, _AT_ONCE)):
        yield chunk


# --- in processes of their own ----------------------------------------------------------------


class Resident:
    """A process that works through all images as often as it is told to, ready beforehand."""

    def __init__(self, kind: Kind, subject: Subject, chosen: Fastest) -> None:
        said = json.dumps({"kind": kind, "subject": asdict(subject), "chosen": asdict(chosen)})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.bench.alone", said],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, passes: int) -> None:
        """Tell it to work through all images so many times; returns at once."""
        stream = cast(IO[str], self.process.stdin)
        stream.write(f"{passes}\n")
        stream.flush()

    def finished(self) -> tuple[int, float]:
        """Wait until it has worked: images, and processor seconds of it."""
        line = cast(IO[str], self.process.stdout).readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} has died; what it said is above")
        images, seconds = json.loads(line)
        return images, seconds


@contextmanager
def residents(
    kind: Kind, subject: Subject, chosen: Fastest, count: int
) -> Iterator[list[Resident]]:
    """Some processes of a kind, warm."""
    started = [Resident(kind, subject, chosen) for _ in range(count)]
    try:
        together(started)
        yield started
    finally:
        for one in started:
            one.process.kill()
            one.process.communicate()


def together(some: Sequence[Resident], passes: int = 1) -> tuple[float, float]:
    """Let them work side by side: images per second of all, and CPU milliseconds per image."""
    start = time.perf_counter()
    for one in some:
        one.begin(passes)
    done = [one.finished() for one in some]
    images = sum(count for count, _ in done)
    rate = images / (time.perf_counter() - start)
    return rate, 1000 * sum(seconds for _, seconds in done) / images


def _reside(said: str) -> None:
    """Work as often as each line says that comes."""
    order = json.loads(said)
    subject, chosen = Subject(**order["subject"]), Fastest(**order["chosen"])
    settle()
    net, dataset = load(subject.net, channels_last=chosen.channels_last), open_dataset(subject.data)
    if order["kind"] == "net":
        work = net_alone(net, dataset, chosen)
    else:
        work = decoding(dataset, net.preprocessing, chosen.threads)
    for passes in sys.stdin:
        start = time.process_time()
        images = sum(work() for _ in range(int(passes)))
        print(json.dumps([images, time.process_time() - start]), flush=True)


if __name__ == "__main__":
    _reside(sys.argv[1])
