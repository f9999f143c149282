"""What the benchmark is asked for, and what it measures on."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from tarfile import TarFile, TarInfo

import torch

from pipeline import schema
from pipeline.bench.runner import CPU, Work, measured, one_core
from pipeline.core.nets.known import Net
from pipeline.data.decoding import decode
from pipeline.data.demo.images import shard_bytes
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.samples import Sample
from pipeline.data.store import Store
from pipeline.data.weights.load import load_net
from pipeline.errors import RequestError, SampleError
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part

TOP_K = 9
_BATCH = 32  # images whose time tells a net's speed
_FEWEST = 16  # images in a part
_PHOTOGRAPH = (500, 375)
_MOST_PICTURES = {True: 64, False: 256}  # different ones; whether short
_MOST_IMAGES = {True: 64, False: 512}
_SECONDS = {True: 1.0, False: 12.0}


@dataclass(frozen=True)
class Order:
    """A net to measure, and how."""

    net: str
    repeats: int  # of everything
    short: bool  # everything in its smallest honest form
    data: str | None  # pictures to use; None draws some at photograph size
    folder: Path  # for temporary files; those of several nets may share it

    @cached_property
    def images(self) -> int:
        """As many as the net sees in a reasonable time: whole batches in each of two parts."""
        net = load(self.net)
        batch = torch.rand(_BATCH, 3, *net.preprocessing.input_size)
        with one_core(), torch.inference_mode():
            net.graph.trunk(batch[:2])
            rate = 1000 / measured(lambda: len(net.graph.trunk(batch)[0]))[CPU]
        images = 2 * max(_FEWEST, Miner.exact(net).stream.size)  # mining pads the last batch
        while 2 * images <= min(_MOST_IMAGES[self.short], rate * _SECONDS[self.short]):
            images *= 2
        return images

    @property
    def dataset(self) -> Dataset:
        """Those images."""
        return self.shards(2, self.images // 2)

    @cached_property
    def run(self) -> Store:
        """Where heaps are left; the same part again overwrites its own, which is harmless."""
        run = Store(self.folder / "run")
        run.write(schema.RUN, b"{}")  # by which a worker sees that it is there
        return run

    def repeats_of_long(self, most: int) -> int:
        """Of what takes long: in short no more than `most`."""
        return min(self.repeats, most) if self.short else self.repeats

    def source(self) -> Dataset:
        """The pictures to use."""
        if self.data is not None:
            return open_dataset(self.data)
        drawn = self.folder / "drawn.tar"
        if not drawn.exists():
            indices = range(_MOST_PICTURES[self.short])
            drawn.write_bytes(shard_bytes(indices, size=_PHOTOGRAPH))
        return open_dataset(str(drawn))

    def pictures(self) -> list[bytes]:
        """The first of them, encoded, that can be decoded; a `RequestError` if there are none."""
        usable = (s.data for s in samples_of(self.source()) if _is_usable(s))
        if pictures := list(islice(usable, _MOST_PICTURES[self.short])):
            return pictures
        raise RequestError(f"{self.data} holds no picture that can be decoded; name another DATA.")

    def shards(self, count: int, images: int) -> Dataset:
        """So many tar shards of so many images each, every shard one part.

        Where there are fewer pictures, they come again: speed does not know them.
        """
        place = self.folder / f"{count}-times-{images}"
        if not place.exists():
            place.mkdir()
            pictures = cycle(self.pictures())
            for shard in range(count):
                with TarFile.open(place / f"{shard:04d}.tar", "w") as tar:
                    for index, data in enumerate(islice(pictures, images)):
                        member = TarInfo(f"{index:06d}.jpg")  # or whatever decoding finds it to be
                        member.size = len(data)
                        tar.addfile(member, BytesIO(data))
        return open_dataset(str(place))


def _is_usable(sample: Sample) -> bool:
    if sample.problem is None:
        with suppress(SampleError):
            decode(sample.data)
            return True
    return False


def samples_of(dataset: Dataset) -> Iterator[Sample]:
    """All of a dataset."""
    return (sample for part in dataset.parts() for sample in dataset.read(part))


def load(name: str, *, channels_last: bool = True, layers: tuple[str, ...] = ()) -> Net:
    """A net as a worker has it: its trunk up to the layers asked for; speed knows no weights."""
    net = load_net(name, None if ":" in name else "random:0").net
    graph = net.graph.only(layers) if layers else net.graph
    if channels_last:
        graph.trunk.to(memory_format=torch.channels_last)
    return replace(net, graph=graph, module=None)


def mining(miner: Miner, dataset: Dataset, run: Store, top_k: int = TOP_K) -> Work:
    """Stage 1 on all parts of a dataset, as a worker does it."""
    return lambda: sum(
        mine_part([miner], dataset, part, [run], top_k).images for part in dataset.parts()
    )
