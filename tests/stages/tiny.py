"""A tiny net on tiny black and white pictures: every activation is a small whole number.

So sums come out the same in any order and batch, ties are frequent, and what a run should hold
can be worked out by hand.
"""

import io
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.config import LayerSpec, RunSpec
from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.trace import trace
from pipeline.core.nets.known import Net
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.samples import Part, numbered
from pipeline.data.store import Store
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part

SIDE = 12
NAMES = {"0": "first", "3": "second"}
PREPARED = Preprocessing(SIDE, SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
DEAD = ("first", 1)


def module() -> nn.Sequential:
    """Two layers, the second one not rectified; one map is dead, one has only negative maxima."""
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for conv in (first, second):
            weights = rng.integers(-2, 3, conv.weight.shape)
            conv.weight.copy_(torch.from_numpy(weights))
            assert conv.bias is not None
            conv.bias.zero_()
        first.weight[1] = -1
        second.weight[2] = -second.weight[2].abs()
        second.bias[2] = -1  # type: ignore[index]
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(3, 2), second)


def net_of(net: nn.Module) -> Net:
    graph = trace(net, PREPARED.input_size, lambda path: NAMES.get(path, path))
    return Net("tiny", graph, PREPARED, 0)


def picture(number: int) -> np.ndarray:
    """White dots, few enough that many pictures tie; every fifth is a copy of another one."""
    rng = np.random.default_rng(number - number % 5 if number % 5 == 4 else number)
    return np.where(rng.random((SIDE, SIDE, 3)) < 0.08, 255, 0).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path, count: int, broken: tuple[int, ...] = ()) -> list[str]:
    """Pictures in a folder, some of them broken; their names in the order of the dataset."""
    folder.mkdir(parents=True)
    keys = [f"{number:03}.png" for number in range(count)]
    for number, key in enumerate(keys):
        data = png(picture(number))
        (folder / key).write_bytes(data[: len(data) // 2] if number in broken else data)
    return keys


def parts_of(dataset: Dataset, keys: list[str], sizes: list[int]) -> list[Part]:
    """The dataset cut into parts of these sizes."""
    ends = np.cumsum(sizes).tolist()
    assert ends[-1] == len(keys)
    starts = [0, *ends[:-1]]
    return list(
        numbered(
            Part("", dataset.url, tuple(keys[start:end]), (0,) * (end - start))
            for start, end in zip(starts, ends, strict=True)
        )
    )


def spec_of(net: Net, dataset: Dataset, top_k: int) -> RunSpec:
    return RunSpec(
        net=net.name,
        weights="made here",
        weights_digest="",
        classes=0,
        preprocessing=net.preprocessing,
        layers=tuple(
            LayerSpec(
                name=layer.name,
                maps=layer.maps,
                size=layer.size,
                receptive_field=receptive_field(net.graph, layer),
            )
            for layer in net.graph.layers
        ),
        top_k=top_k,
        precision="exact",
        data=dataset.url,
        format=dataset.format,
        fingerprint=dataset.fingerprint,
    )


def mined(dataset: Dataset, top_k: int) -> Store:
    """A run in memory that has been mined."""
    run, net = Store(f"memory://{uuid.uuid4().hex}"), net_of(module())
    parts = dataset.parts()
    for part in parts:
        mine_part([Miner.exact(net)], dataset, part, [run], top_k)
    merge(run, spec_of(net, dataset, top_k), [part.name for part in parts])
    return run


def tensor(number: int) -> Tensor:
    """A picture as the net takes it."""
    return torch.from_numpy(picture(number)).permute(2, 0, 1) / 255


@dataclass(frozen=True)
class Everything:
    """All activations of all pictures, held in memory: layer → (N, C, H, W)."""

    maps: dict[str, np.ndarray]

    @classmethod
    def of(cls, net: nn.Sequential, count: int) -> "Everything":
        with torch.no_grad():
            images = torch.stack([tensor(number) for number in range(count)])
            first = net[:2](images)
            return cls({"first": first.numpy(), "second": net(images).numpy()})

    def winners(
        self, layer: str, top_k: int, without: tuple[int, ...] = ()
    ) -> list[tuple[int, int, float, int, int, int]]:
        """By sorting: feature map, rank, activation, y, x, sample."""
        rows = []
        maps = self.maps[layer]
        for feature_map in range(maps.shape[1]):
            found = []
            for sample in set(range(len(maps))) - set(without):
                one = maps[sample, feature_map]
                y, x = np.unravel_index(one.argmax(), one.shape)
                found.append((-float(one.max()), sample, int(y), int(x)))
            best = [row for row in sorted(found) if row[0] < 0][:top_k]
            for rank, (negative, sample, y, x) in enumerate(best, 1):
                rows.append((feature_map, rank, -negative, y, x, sample))
        return rows


def opened(folder: Path) -> Dataset:
    return open_dataset(str(folder))
