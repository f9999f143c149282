"""What the benchmark is asked for, and what it measures on."""

import time
from dataclasses import dataclass, replace
from functools import cache, cached_property
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from tarfile import TarFile, TarInfo

import torch

from pipeline.bench.rounds import one_thread
from pipeline.core.nets.known import Net
from pipeline.data.decoding import decode
from pipeline.data.demo.images import draw
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.data.weights.load import load_net
from pipeline.errors import RequestError, SampleError
from pipeline.stages.mine import Miner, mine_part
from pipeline.terminal import progress

BATCH = 32
"""Images that are taken at once where nothing better is known."""

_FEWEST = 16  # images in a part

TOP_K = 9

_PHOTOGRAPH = (500, 375)
_MOST_PICTURES = {True: 64, False: 256}  # different ones; whether short
_MOST_IMAGES = {True: 64, False: 512}
_SECONDS = {True: 1.0, False: 12.0}


@dataclass(frozen=True)
class Order:
    """What the benchmark is asked for.

    Attributes:
        nets: their names.
        repeats: how often everything is measured.
        short: everything in its smallest honest form.
        data: pictures to use; None draws some at photograph size.
        folder: for temporary files.
    """

    nets: tuple[str, ...]
    repeats: int
    short: bool
    data: str | None
    folder: Path

    @cached_property
    def pictures(self) -> list[bytes]:
        """Encoded pictures, all of which can be decoded.

        Raises:
            RequestError: there are none.
        """
        most = _MOST_PICTURES[self.short]
        return _drawn(most) if self.data is None else _read(self.data, most)

    def shards(self, count: int, images: int) -> str:
        """A dataset of so many tar shards of so many images each, every shard one part.

        Where there are fewer pictures, they come again: speed does not know them.
        """
        place = self.folder / f"{count}-times-{images}"
        if not place.exists():
            place.mkdir()
            pictures = cycle(self.pictures)
            for shard in range(count):
                _write_shard(place / f"{shard:04d}.tar", list(islice(pictures, images)))
        return str(place)


@dataclass(frozen=True)
class Subject:
    """A net, and what it is measured on.

    Attributes:
        net: its name.
        images: in all, a whole number of batches in each of the two parts.
        data: the dataset.
    """

    net: str
    images: int
    data: str


@cache
def subject(order: Order, net: str) -> Subject:
    """As many images for a net as it sees in a reasonable time, in two equal parts."""
    loaded = load(net)
    images = 2 * max(_FEWEST, Miner.exact(loaded).stream.size)  # mining pads the last batch
    speed = _speed(loaded)
    while 2 * images <= min(_MOST_IMAGES[order.short], speed * _SECONDS[order.short]):
        images *= 2
    return Subject(net, images, order.shards(2, images // 2))


def load(name: str, *, channels_last: bool = True, layers: tuple[str, ...] | None = None) -> Net:
    """A net as a worker has it: its trunk up to the layers asked for; speed knows no weights."""
    net = load_net(name, None if ":" in name else "random:0").net
    graph = net.graph.only(layers) if layers else net.graph
    if channels_last:
        graph.trunk.to(memory_format=torch.channels_last)
    return replace(net, graph=graph, module=None)


def _speed(net: Net) -> float:
    """Images per processor second, roughly."""
    images = torch.rand(BATCH, 3, *net.preprocessing.input_size)
    with one_thread(), torch.inference_mode():
        net.graph.trunk(images[:2])
        start = time.process_time()
        net.graph.trunk(images)
    return BATCH / (time.process_time() - start)


def _drawn(count: int) -> list[bytes]:
    made = []
    with progress("drawing, images", count) as advance:
        for index in range(count):
            buffer = BytesIO()
            draw(index, size=_PHOTOGRAPH).image.save(buffer, "JPEG", quality=92)
            made.append(buffer.getvalue())
            advance(1)
    return made


def _read(data: str, most: int) -> list[bytes]:
    """The first pictures of a dataset, kept here: what is measured is no network."""
    dataset = open_dataset(data)
    samples = (sample.data for part in dataset.parts() for sample in dataset.read(part))
    found = list(islice(filter(_usable, samples), most))
    if not found:
        raise RequestError(f"{data} holds no picture that can be decoded; name another DATA.")
    return found


def _usable(data: bytes) -> bool:
    try:
        decode(data)
    except SampleError:
        return False
    return True


def _write_shard(path: Path, pictures: list[bytes]) -> None:
    with TarFile.open(path, "w") as tar:
        for index, data in enumerate(pictures):
            member = TarInfo(f"{index:06d}.jpg")  # whatever it is: decoding looks for itself
            member.size = len(data)
            tar.addfile(member, BytesIO(data))


def run_store(order: Order) -> Store:
    """Where mining leaves its heaps; the same part again overwrites them, which is harmless."""
    return Store(order.folder / "run")


def mine(miner: Miner, dataset: Dataset, part: Part, run: Store, top_k: int = TOP_K) -> int:
    """Stage 1 on a part, as a worker does it; returns the images."""
    return mine_part([miner], dataset, part, [run], top_k).images
