"""Mining against the net and decoding alone, and a loop written by hand; on one core."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from io import BytesIO
from itertools import islice
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from torchvision.transforms import v2

from pipeline.bench.order import TOP_K, Order, load, mining, samples_of
from pipeline.bench.printer import Column, Finding, Row
from pipeline.bench.runner import CPU, RATE, SPEED, Work, measured, one_core, quickest, rounds
from pipeline.core.nets.known import Net
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.batches import Stream, batches
from pipeline.data.decoding import decode
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Sample
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part

_BATCHES = (4, 8, 16, 32, 64, 128)
_THREADS = ("in the loop itself", "in a thread of its own", "in two threads")
_AT_ONCE = 8  # pictures that a thread takes together
_BATCH_BY_HAND = 32

Done = tuple[float, int, float]  # a part that was mined: when; its images; CPU seconds for it

_MINING, _BOUND = "mining", "bound of both"
_NET, _DECODING, _LOOP = "the net alone", "decoding alone", "loop by hand"
_COLUMNS = {**SPEED, "mining_against_it": Column("mining\nagainst it", 2)}
_NOTES = (
    "Bound: 1 / (1 / net + 1 / decoding), since both share the core. Loop by hand: a DataLoader,",
    "and torch.topk on every batch of each layer.",
)


def measure(order: Order) -> Iterator[Finding]:
    """The rivals, interleaved: each works through all images."""
    arrangement, net = fastest(order), load(order.net)
    works: dict[str, Work] = {
        _MINING: mining(Miner.exact(net), order.dataset, order.run),
        _NET: net_alone(order, arrangement),
        _DECODING: decoding(order, arrangement),
        _LOOP: partial(_loop_by_hand, net, order.dataset),
    }
    with one_core():
        speeds = rounds(works, order.repeats, f"mining {order.net}")
    speeds[_BOUND] = bound(speeds[_NET], speeds[_DECODING])
    rows = {name: speeds[name] for name in (_MINING, _BOUND, _NET, _DECODING, _LOOP)}
    for name in list(rows)[1:]:
        rows[name]["mining_against_it"] = rows[_MINING][RATE] / rows[name][RATE]
    title = f"Mining {order.net}: {order.images} images, all layers, k = {TOP_K}, one core"
    facts = {"net": order.net, "images": order.images, "fastest": arrangement._asdict()}
    yield Finding(title, _COLUMNS, rows, facts, (*_NOTES, str(arrangement)))


def bound(net: Row, decoding: Row) -> Row:
    """Speed that nobody can pass who does both on the same cores."""
    rate = 1 / (1 / net[RATE] + 1 / decoding[RATE])
    return {RATE: rate, CPU: net[CPU] + decoding[CPU]}


class Fastest(NamedTuple):
    """The arrangement in which each of the two was fastest when all were tried."""

    batch: int  # images that the net takes at once
    channels_last: bool  # the memory layout of its tensors
    threads: int  # that decode beside the one that waits; 0 means in the loop itself

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "contiguous"
        net = f"the net on batches of {self.batch}, {layout}"
        return f"Fastest alone: {net}; decoding {_THREADS[self.threads]}."


@cache
def fastest(order: Order) -> Fastest:
    """Try all arrangements on one core: batches of 4 to 128, two layouts, 0 to 2 threads."""
    nets = {last: load(order.net, channels_last=last) for last in (True, False)}
    sizes = [size for size in _BATCHES if size <= order.images]
    images = torch.rand(max(sizes), 3, *nets[True].preprocessing.input_size)
    forward = {
        (size, channels_last): _forward(net, [images[:size]], channels_last)
        for channels_last, net in nets.items()
        for size in sizes
    }
    with one_core():
        batch, channels_last = quickest(forward)
        ways = [Fastest(batch, channels_last, threads) for threads in range(len(_THREADS))]
        return quickest({way: decoding(order, way) for way in ways})


def net_alone(order: Order, arrangement: Fastest) -> Work:
    """The net on pictures that are in memory already, as normalised batches."""
    net = load(order.net, channels_last=arrangement.channels_last)
    stream = Stream(net.preprocessing, arrangement.batch)
    prepared = batches(enumerate(samples_of(order.dataset)), [stream])
    stock = [net.preprocessing.normalise(batch.images) for batch in prepared]
    return _forward(net, stock, arrangement.channels_last)


def _forward(net: Net, stock: list[Tensor], channels_last: bool) -> Work:
    """The forward pass; no layer's maps are held longer than the net itself needs them."""
    users = {node.name: node.users for node in net.graph.trunk.graph.nodes}
    last = [
        layer.name
        for layer in net.graph.layers
        if all(user.op == "output" for user in users[layer.step])
    ]
    trunk = net.graph.only(last).trunk
    layout = torch.channels_last if channels_last else torch.contiguous_format
    stock = [images.contiguous(memory_format=layout) for images in stock]

    def work() -> int:
        with torch.inference_mode():
            for images in stock:
                trunk(images)
        return sum(map(len, stock))

    return work


def decoding(order: Order, arrangement: Fastest) -> Work:
    """Reading, decoding, resizing and cropping, in the loop itself or in threads."""
    dataset, prepare = order.dataset, load(order.net).preprocessing.prepare

    def prepared(chunk: list[Sample]) -> int:
        return len([prepare(decode(sample.data)) for sample in chunk])

    def work() -> int:
        samples = samples_of(dataset)
        chunks = iter(lambda: list(islice(samples, _AT_ONCE)), [])
        if not arrangement.threads:
            return sum(map(prepared, chunks))
        with ThreadPoolExecutor(arrangement.threads) as pool:
            return sum(pool.map(prepared, chunks))

    return work


@cache
def _ready(kind: str, order: Order, arrangement: Fastest) -> Work:
    return (net_alone if kind == "net" else decoding)(order, arrangement)


def work_alone(kind: str, order: Order, arrangement: Fastest) -> Mapping[str, float]:
    """The speed of net or decoding on all images; ready after the first call."""
    return measured(_ready(kind, order, arrangement))


def mine_share(order: Order, passes: int, count: int, first: int) -> list[Done]:
    """Mine every `count`-th part of a dataset from the `first` on, over and over."""
    miner, dataset = Miner.exact(load(order.net)), order.dataset
    done = []
    for part in dataset.parts()[first::count] * passes:
        cpu = time.process_time()
        images = mine_part([miner], dataset, part, [order.run], TOP_K).images
        done.append((time.monotonic(), images, time.process_time() - cpu))
    return done


class _Pictures(IterableDataset[Tensor]):
    """Pictures as torchvision's own transform makes them."""

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
        for sample in samples_of(self.dataset):
            yield self.transform(Image.open(BytesIO(sample.data)).convert("RGB"))


def _loop_by_hand(net: Net, dataset: Dataset) -> int:
    """What one would write: after each batch, the best of it and of those before, by layer."""
    loader = DataLoader(_Pictures(dataset, net.preprocessing), batch_size=_BATCH_BY_HAND)
    best: list[Any] = []  # (values, places, samples) of each layer: maps × ranks
    images = 0
    with torch.inference_mode():
        for batch in loader:
            for i, maps in enumerate(net.graph.trunk(batch)):
                values, places = maps.flatten(2).max(-1)
                samples = torch.arange(images, images + len(batch)).expand(values.shape[1], -1)
                columns = (values.T, places.T, samples)
                if i == len(best):
                    best.append(columns)
                both = [torch.cat(pair, 1) for pair in zip(best[i], columns, strict=True)]
                top = both[0].topk(min(TOP_K, both[0].shape[1]), dim=1).indices
                best[i] = tuple(column.gather(1, top) for column in both)
            images += len(batch)
    return images
