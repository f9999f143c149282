"""Memory does not grow with the number of images: peaks of N and of 4 N in fresh processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.data.demo.images import draw, shard_bytes

N = 256
ALLOWED = 32 * 2**20
"""For allocators and what is kept of each picture's name; decoded, 3 N pictures are 74 MB."""

MINE = """
import re, sys, tempfile
from pathlib import Path
from pipeline.core.nets.recipe import Recipe
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store
from pipeline.data.weights.load import load_net
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
import torch
torch.set_num_threads(1)
miner = Miner.exact(Recipe.of(load_net("demo").net, ["conv1", "conv5"]).make("cpu"))
dataset = open_dataset(sys.argv[1])
with tempfile.TemporaryDirectory() as run:
    images = sum(
        mine_part([miner], dataset, part, [Store(run)], 9).images for part in dataset.parts()
    )
# not getrusage: its peak starts with that of the process that started this one
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(images, int(peak[1]) * 1024)
"""


def folder_of(place: Path, count: int) -> Path:
    for index in range(count):
        draw(index % 64, size=(180, 180)).image.save(place / f"{index:04d}.jpg")
    return place


def tar_of(place: Path, count: int) -> Path:
    (place / "all.tar").write_bytes(shard_bytes(range(count), size=(180, 180)))
    return place


def peak(place: Path, count: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MINE, str(place)], capture_output=True, text=True, check=True
    )
    images, most = map(int, done.stdout.split())
    assert images == count
    return most


@pytest.mark.parametrize("kind", [folder_of, tar_of])
def test_mining(kind: object, tmp_path: Path) -> None:
    places = {count: tmp_path / str(count) for count in (N, 4 * N)}
    for count, place in places.items():
        place.mkdir()
        kind(place, count)  # type: ignore[operator]
    # an allocator now and then takes tens of MB more: the lowest of some is what is needed
    fewer = min(peak(places[N], N) for _ in range(4))
    more = [peak(places[4 * N], 4 * N)]
    while more[-1] - fewer >= ALLOWED and len(more) < 4:
        more.append(peak(places[4 * N], 4 * N))
    print(f"{kind.__name__}: {fewer / 2**20:.0f} MB, {min(more) / 2**20:.0f} MB")  # type: ignore[attr-defined]
    assert min(more) - fewer < ALLOWED
