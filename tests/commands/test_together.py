"""Several nets in one pass: each as if it were alone, to the last byte."""

import uuid
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline import schema
from pipeline.commands import mine as mining
from pipeline.core.graph.trace import trace
from pipeline.core.nets.known import Net
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Sample
from pipeline.data.store import Store
from pipeline.request import MineRequest
from pipeline.stages import mine as mining_stage
from pipeline.stages.mine import Miner
from pipeline.stages.part import PartDone, mine_part
from tests.data.without_ray import in_this_process
from tests.stages import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT, BROKEN = 83, (0, 5, 31, 32, 40, 82)


def store() -> Store:
    return Store(f"memory://{uuid.uuid4().hex}")


def contents(run: Store) -> dict[str, bytes]:
    return {name: run.read(name) for name in run.list()}


def wide() -> Net:
    """A net whose maps are as large as its input, of pictures prepared in another way."""
    module = nn.Sequential(nn.Conv2d(3, 40, 3, padding=1), nn.ReLU(), nn.Conv2d(40, 5, 3))
    seeded = torch.Generator().manual_seed(0)
    for weights in module.parameters():
        nn.init.uniform_(weights, -0.5, 1, generator=seeded)
    prepared = Preprocessing(20, 16)
    return Net("wide", trace(module, prepared.input_size), prepared, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together") / "pictures"
    tiny.write(folder, COUNT, BROKEN)
    return folder


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> list[Net]:
    """Three nets, two of which prepare pictures alike; one takes fewer of them at a time."""
    monkeypatch.setattr(mining_stage, "_BATCH", {"cpu": 32})
    monkeypatch.setattr(mining_stage, "_LARGEST_MAPS", 2**16)
    made = [tiny.net_of(tiny.module()), wide(), tiny.net_of(tiny.module()[:2])]
    assert [Miner.exact(net).stream.size for net in made] == [32, 4, 32]
    return made


@pytest.mark.parametrize("prepare", [Miner.exact, Miner.screening], ids=["exact", "fast"])
@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0], [1, 2, 0]])
@pytest.mark.parametrize("decoders", [0, 3])
def test_each_net_as_if_it_were_alone(
    prepare: Callable[[Net], Miner],
    order: list[int],
    decoders: int,
    folder: Path,
    nets: list[Net],
) -> None:
    """Whichever one is the first, with batches of other sizes and pictures that are broken."""
    dataset = tiny.opened(folder)
    keys = sorted(path.name for path in folder.iterdir())
    miners = [prepare(nets[number]) for number in order]
    together, alone = [store() for _ in order], [store() for _ in order]
    for part in tiny.parts_of(dataset, keys, [1, 32, 3, 47]):
        done = mine_part(miners, dataset, part, together, 4, decoders)
        assert done == PartDone(
            part.name, len(part.keys) - done.skipped, sum(int(k[:3]) in BROKEN for k in part.keys)
        )
        for miner, run in zip(miners, alone, strict=True):
            assert mine_part([miner], dataset, part, [run], 4, decoders) == done
    for with_others, by_itself in zip(together, alone, strict=True):
        assert contents(with_others) == contents(by_itself)
        assert len(contents(with_others)) == 2 * 4 + 3  # three parts have broken pictures


def test_pictures_are_read_once(folder: Path, nets: list[Net]) -> None:
    read: list[Sample] = []

    class Counting(Dataset):
        def read(self, part):  # type: ignore[no-untyped-def]
            for sample in super().read(part):
                read.append(sample)
                yield sample

    opened = tiny.opened(folder)
    part = opened.parts()[0]
    dataset = Counting(**{each.name: getattr(opened, each.name) for each in fields(opened)})
    mine_part([Miner.exact(net) for net in nets], dataset, part, [store() for _ in nets], 4)
    assert [sample.key for sample in read] == list(part.keys)


def test_what_is_not_finite_for_one_net_is_skipped_for_that_net_alone(
    folder: Path, nets: list[Net]
) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    nn.init.constant_(module[0].bias, float("nan"))  # type: ignore[arg-type]
    runs = [store() for _ in range(3)]
    miners = [Miner.exact(net) for net in (nets[0], tiny.net_of(module), nets[1])]
    dataset = tiny.opened(folder)
    part = dataset.parts()[0]
    mine_part(miners, dataset, part, runs, 4)
    images = [run.read_table(schema.heap_name(part.name))["images"][0].as_py() for run in runs]
    assert images[1] == 0
    assert images[0] == images[2] > 0


# --- by the function behind the command -------------------------------------------------------

NETS = {"demo": None, "alexnet": "random:1", "squeezenet1_1": "random:2"}
LAYERS = {"demo": ("conv1", "conv5"), "alexnet": ("conv1",), "squeezenet1_1": ("features.0",)}


def requests(data: Path, place: Path, precision: str, *names: str) -> list[MineRequest]:
    return [
        MineRequest.model_validate(
            {
                "data": str(data), "run": str(place / name), "net": name, "weights": NETS[name],
                "layers": LAYERS[name], "precision": precision, "top_k": 3,
            }
        )
        for name in names
    ]  # fmt: skip


def objects(run: Path) -> dict[str, bytes]:
    """All files of a run, but what it took."""
    paths = (path for path in run.rglob("*") if path.parent.name != "progress")
    files = sorted(path for path in paths if path.is_file())
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_runs_that_are_at_different_points(
    precision: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has some parts, one has none, one is merged: what is missing is done, no more."""
    in_this_process(monkeypatch)
    for name in NETS:
        (run,) = mining.mine_runs(requests(folder, tmp_path / "alone", precision, name))
        assert run.spec.net == name
        assert (run.feature_maps()["images"] == COUNT - len(BROKEN)).all()
        assert len(run.skipped()) == len(BROKEN)
    place = tmp_path / "together"
    mining.mine_runs(requests(folder, place, precision, "alexnet", "demo"))
    stage = "heaps" if precision == "exact" else "screen"
    parts = sorted((place / "demo" / stage).iterdir())
    assert len(parts) > 1
    for name in ("feature_maps.parquet", f"{stage}/{parts[0].name}"):
        (place / "demo" / name).unlink()
    before = {path: path.stat().st_mtime_ns for path in (place / "alexnet").rglob("*")}
    written = parts[1].stat().st_mtime_ns
    runs = mining.mine_runs(requests(folder, place, precision, *NETS))
    assert [run.spec.net for run in runs] == list(NETS)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert parts[1].stat().st_mtime_ns == written
    for name in NETS:
        assert objects(place / name) == objects(tmp_path / "alone" / name)
