"""Mining against what bounds it, and against what one would write by hand; on one core."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from torchvision.transforms import v2

from pipeline.bench.alone import decoding, fastest, net_alone
from pipeline.bench.figures import Block, Column, Finding, bound, combined
from pipeline.bench.order import BATCH, TOP_K, Order, Subject, load, mine, run_store, subject
from pipeline.bench.rounds import CPU, RATE, Rival, Speed, one_core, rounds
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.store import Store
from pipeline.stages.mine import Miner

_MINING, _NET, _DECODING, _LOOP = "mining", "the net alone", "decoding alone", "loop by hand"
_BOUND = "bound of both"
_AGAINST = Column("mining_against_it", "mining\nagainst it", 2)
_NOTES = (
    "Bound: 1 / (1 / net + 1 / decoding), since both share the core. Loop by hand: a DataLoader,",
    "and torch.topk on every batch of each layer.",
)


def bench_mining(order: Order) -> Iterator[Finding]:
    """The rivals of each net, interleaved."""
    for net in order.nets:
        one = subject(order, net)
        with one_core():
            speeds = rounds(_rivals(one, run_store(order)), order.repeats, f"mining {net}")
        yield _block(one, speeds)


def _rivals(one: Subject, run: Store) -> dict[str, Rival]:
    """What is compared: each works through the whole dataset."""
    chosen, dataset, net = fastest(one), open_dataset(one.data), load(one.net)

    miner = Miner.exact(net)

    def mining() -> int:
        return sum(mine(miner, dataset, part, run) for part in dataset.parts())

    def loop() -> int:
        return _loop_by_hand(net.graph.trunk, net.preprocessing, dataset)

    alone = load(one.net, channels_last=chosen.channels_last)
    return {
        _MINING: mining,
        _NET: net_alone(alone, dataset, chosen),
        _DECODING: decoding(dataset, net.preprocessing, chosen.threads),
        _LOOP: loop,
    }


def _block(one: Subject, speeds: dict[str, Speed]) -> Finding:
    net, decoded = speeds[_NET], speeds[_DECODING]
    speeds = {**speeds, _BOUND: Speed(
        bound(net.rate, decoded.rate), combined(lambda a, b: a + b, net.cpu, decoded.cpu)
    )}  # fmt: skip
    mining = speeds[_MINING].rate
    rows = {
        name: speeds[name].row()
        | ({} if name == _MINING else {_AGAINST.key: mining / speeds[name].rate})
        for name in (_MINING, _BOUND, _NET, _DECODING, _LOOP)
    }
    chosen = fastest(one)
    return Block(
        f"Mining {one.net}: {one.images} images, all layers, k = {TOP_K}, one core",
        (RATE, CPU, _AGAINST),
        rows,
        {"net": one.net, "images": one.images, "fastest": vars(chosen)},
        (*_NOTES, chosen.sentence()),
    ).finding()


# --- what one would write by hand -------------------------------------------------------------


class _Pictures(IterableDataset[Tensor]):
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
        for part in self.dataset.parts():
            for sample in self.dataset.read(part):
                yield self.transform(Image.open(BytesIO(sample.data)).convert("RGB"))


def _loop_by_hand(trunk: nn.Module, preprocessing: Preprocessing, dataset: Dataset) -> int:
    loader = DataLoader(_Pictures(dataset, preprocessing), batch_size=BATCH)
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
