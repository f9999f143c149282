"""How fast mining is, against what bounds it: ``deconv-atlas bench``.

Everything is measured in one run on one processor core, interleaved and repeated, because
machines drift: the ratios hold where the times do not. The rivals:

- *net*: the net alone, float32, channels last, pictures already in memory as normalised batches;
- *decoding*: reading, decoding, resizing and cropping alone;
- *bound*: ``1 / (1 / net + 1 / decoding)``, since both share the core;
- *mining*: stage 1 as it runs in a worker, heaps included;
- *loop*: what one would write by hand, a DataLoader with hooks and `torch.topk` on every batch.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from pipeline.core.networks import Net
from pipeline.core.preprocessing import Preprocessing
from pipeline.core.process import settle
from pipeline.data import demo
from pipeline.data.batches import batches
from pipeline.data.samples import Sample
from pipeline.data.shards import Dataset, open_dataset
from pipeline.data.store import Store
from pipeline.data.weights import load_net
from pipeline.stages.mine import mine_part

TOP_K = 9
_BATCH = 32
_GENERATED = 256
_PHOTOGRAPH = (500, 375)


@dataclass(frozen=True)
class Figure:
    """One thing measured.

    Attributes:
        name: what.
        rates: images per second, one per repeat.
        cpu: processor seconds per image, one per repeat.
    """

    name: str
    rates: list[float]
    cpu: list[float]

    @property
    def rate(self) -> float:
        """The median, in images per second."""
        return statistics.median(self.rates)


@dataclass(frozen=True)
class Report:
    """Everything measured.

    Attributes:
        net: whose speed.
        data: on which images.
        images: how many of them.
        figures: by name.
        ratios: mining over each of the others, median of the repeats' ratios.
        memory: images → MiB that mining them took at most.
    """

    net: str
    data: str
    images: int
    figures: dict[str, Figure]
    ratios: dict[str, float]
    memory: dict[int, float]

    def table(self) -> Table:
        """For the terminal."""
        table = Table(
            "", "images/s", "spread", "CPU ms/image", "mining / this",
            title=f"{self.net} on {self.images} images of {self.data}, one core",
            box=None, title_justify="left",
        )  # fmt: skip
        for name, figure in self.figures.items():
            spread = f"{min(figure.rates):.1f} - {max(figure.rates):.1f}"
            cpu = f"{1000 * statistics.median(figure.cpu):.2f}" if figure.cpu else ""
            ratio = f"{self.ratios[name]:.2f}" if name in self.ratios else ""
            table.add_row(name, f"{figure.rate:.1f}", spread, cpu, ratio)
        for images, peak in self.memory.items():
            table.add_row(f"memory, {images} images", f"{peak:.0f} MiB", "", "", "")
        return table

    def json(self) -> str:
        """For machines."""
        return json.dumps(asdict(self), indent=2)


def bench(
    data: str | None = None,
    net: str = "alexnet",
    weights: str = "random:0",
    repeats: int = 5,
) -> Report:
    """Measure mining and what bounds it.

    Args:
        data: images to use; None draws some at photograph size.
        net: the net.
        weights: its weights; speed does not depend on them.
        repeats: how often everything is measured.
    """
    with TemporaryDirectory() as folder, _one_core():
        data = data or _draw(Path(folder))
        dataset = open_dataset(data)
        loaded = load_net(net, weights).net
        loaded.graph.trunk.to(memory_format=torch.channels_last)
        rivals = _rivals(loaded, dataset, Store(f"{folder}/run"))
        figures, images = _measure(rivals, repeats)
        memory = {count: _peak(data, net, weights, count) for count in (images, 4 * images)}
    net_alone, decoding = figures["net"].rates, figures["decoding"].rates
    bound = [1 / (1 / a + 1 / b) for a, b in zip(net_alone, decoding, strict=True)]
    figures["bound"] = Figure("bound", bound, [])
    mining = figures["mining"].rates
    ratios = {
        name: statistics.median(a / b for a, b in zip(mining, figure.rates, strict=True))
        for name, figure in figures.items()
        if name not in ("mining", "decoding")
    }
    return Report(net, data, images, figures, ratios, memory)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process, its threads and its children on one processor core."""
    threads = torch.get_num_threads()
    settle()  # for all rivals alike
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if cores:
        os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if cores:
            os.sched_setaffinity(0, cores)


def _draw(folder: Path) -> str:
    shards = Store(folder / "images")
    shards.write("bench.tar", demo.shard_bytes(range(_GENERATED), size=_PHOTOGRAPH))
    return shards.url


def _measure(rivals: dict[str, Callable[[], int]], repeats: int) -> tuple[dict[str, Figure], int]:
    """Run the rivals in turn, once to warm up and then `repeats` times."""
    figures = {name: Figure(name, [], []) for name in rivals}
    images = 0
    for repeat in range(repeats + 1):
        for name, work in rivals.items():
            wall, cpu = time.perf_counter(), time.process_time()
            images = work()
            if repeat:
                figures[name].rates.append(images / (time.perf_counter() - wall))
                figures[name].cpu.append((time.process_time() - cpu) / images)
    return figures, images


def _rivals(net: Net, dataset: Dataset, run: Store) -> dict[str, Callable[[], int]]:
    """What is compared: each works through the whole dataset and returns its images."""
    stock = [
        (net.preprocessing.normalise(batch.images), len(batch.pictures))
        for batch in batches(_samples(dataset), net.preprocessing, _BATCH)
        if batch.pictures
    ]

    def net_alone() -> int:
        with torch.inference_mode():
            for images, _ in stock:
                net.graph.trunk(images)
        return sum(count for _, count in stock)

    def decoding() -> int:
        found = batches(_samples(dataset), net.preprocessing, _BATCH)
        return sum(len(batch.pictures) for batch in found)

    def mining() -> int:
        parts = dataset.parts()
        return sum(mine_part(net, dataset, part, run, TOP_K).images for part in parts)

    def loop() -> int:
        return _loop_by_hand(net.graph.trunk, net.preprocessing, dataset)

    return {"net": net_alone, "decoding": decoding, "mining": mining, "loop": loop}


def _samples(dataset: Dataset) -> Iterator[Sample]:
    for part in dataset.parts():
        yield from dataset.read(part)


# --- what one would write by hand -------------------------------------------------------------


class _Pictures(torch.utils.data.IterableDataset[Tensor]):
    def __init__(self, dataset: Dataset, preprocessing: Preprocessing) -> None:
        self.dataset = dataset
        self.transform = v2.Compose(
            [
                v2.Resize(preprocessing.resize),
                v2.CenterCrop(preprocessing.crop),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(preprocessing.mean, preprocessing.std),
            ]
        )

    def __iter__(self) -> Iterator[Tensor]:
        for sample in _samples(self.dataset):
            yield self.transform(Image.open(BytesIO(sample.data)).convert("RGB"))


def _loop_by_hand(trunk: nn.Module, preprocessing: Preprocessing, dataset: Dataset) -> int:
    loader = DataLoader(_Pictures(dataset, preprocessing), batch_size=_BATCH)
    best: list[Any] = []
    images = 0
    with torch.inference_mode():
        for batch in loader:
            for i, maps in enumerate(trunk(batch)):
                values, places = maps.flatten(2).max(-1)
                samples = torch.arange(images, images + len(batch)).expand(values.shape[1], -1)
                found = (values.T, places.T, samples)
                if i == len(best):
                    best.append(found)
                both = [torch.cat(pair, 1) for pair in zip(best[i], found, strict=True)]
                top = both[0].topk(min(TOP_K, both[0].shape[1]), dim=1).indices
                best[i] = tuple(one.gather(1, top) for one in both)
            images += len(batch)
    return images


# --- memory -----------------------------------------------------------------------------------


def _peak(data: str, net: str, weights: str, images: int) -> float:
    """MiB that a process of its own takes at most to mine so many images."""
    command = [sys.executable, "-m", "jobs.bench", data, net, weights, str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _mine_and_tell_peak(data: str, name: str, weights: str, images: int) -> None:
    """Mine the first `images` of the dataset, as often over as it takes, and print the peak."""
    settle()
    net, dataset = load_net(name, weights).net, open_dataset(data)
    parts, mined = cycle(dataset.parts()), 0
    with TemporaryDirectory() as folder:
        while mined < images:
            mined += mine_part(net, dataset, next(parts), Store(folder), TOP_K).images
    print(_peak_here())


def _peak_here() -> float:
    """MiB that this process took at most."""
    # not from `getrusage` on Linux: what it tells starts at the peak of the parent process
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    _mine_and_tell_peak(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
