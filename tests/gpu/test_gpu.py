"""What only a GPU can show: the same rows as a processor's, and a pipeline that does not wait."""

import uuid
from pathlib import Path

import pytest
import torch

from pipeline import schema
from pipeline.core.arithmetic import multiply_exactly
from pipeline.core.nets.recipe import Recipe
from pipeline.core.upload import Upload
from pipeline.data.demo.images import draw, shard_bytes
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.nvjpeg import nvjpeg
from pipeline.data.store import Store
from pipeline.data.weights.load import load_net
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

IMAGES = 600  # more than two batches of a GPU's


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "0.tar").write_bytes(shard_bytes(range(IMAGES)))
    return open_dataset(str(folder))


def miner(device: str, screening: bool = False) -> Miner:
    multiply_exactly()
    net = load_net("demo", None).net
    layers = [layer.name for layer in net.graph.layers]
    made = Recipe.of(net, layers).make(device)
    return Miner.screening(made) if screening else Miner.exact(made)


def rows(of: Miner, dataset: Dataset) -> list[dict[str, object]]:
    run = Store(f"memory://{uuid.uuid4().hex}")
    (part,) = dataset.parts()
    mine_part([of], dataset, part, [run], 9, decoders=2)
    name = schema.screen_name(part.name) if of.screens else schema.heap_name(part.name)
    found: list[dict[str, object]] = run.read_table(name).to_pylist()
    return found


def test_the_winners_are_those_of_a_processor(dataset: Dataset) -> None:
    """But for places that two processors order otherwise, since their last bits differ."""
    alike = every = 0
    for here, there in zip(rows(miner("cpu"), dataset), rows(miner("cuda"), dataset), strict=True):
        assert here["max"] == pytest.approx(there["max"], rel=1e-4)
        mine, other = here["winners"], there["winners"]
        assert len(mine) == len(other)  # type: ignore[arg-type]
        for one, two in zip(mine, other, strict=True):  # type: ignore[call-overload]
            assert one["activation"] == pytest.approx(two["activation"], rel=1e-4)
            alike += one["sample"] == two["sample"]
            every += 1
    assert alike >= 0.999 * every


def test_the_same_twice(dataset: Dataset) -> None:
    of = miner("cuda")
    assert rows(of, dataset) == rows(of, dataset)


def test_screening_is_near(dataset: Dataset) -> None:
    exact, screened = rows(miner("cuda"), dataset), rows(miner("cuda", True), dataset)
    for one, two in zip(exact, screened, strict=True):
        assert two["max"] == pytest.approx(one["max"], rel=0.05, abs=0.05)


def test_screening_from_its_own_pixels_is_near(tmp_path: Path) -> None:
    """nvJPEG's, which are some grey levels off; the same images are usable."""
    pytest.importorskip("torchcodec")
    for index in range(IMAGES):
        draw(index).image.save(tmp_path / f"{index:03}.jpg", quality=90)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "000.jpg").read_bytes()[:500])
    dataset = open_dataset(str(tmp_path))
    by_nvjpeg = miner("cuda", True)
    by_nvjpeg.decoding = nvjpeg(torch.device("cuda"))
    for one, two in zip(rows(miner("cuda"), dataset), rows(by_nvjpeg, dataset), strict=True):
        assert two["images"] == one["images"]
        assert two["max"] == pytest.approx(one["max"], rel=0.1, abs=0.1)


def test_batches_arrive_as_they_were_sent() -> None:
    """Also when what is computed is far behind, and memory is given back meanwhile."""
    device = torch.device("cuda")
    upload, sums = Upload(device), []
    slow = torch.rand(4096, 4096, device=device)
    for number in range(20):
        batch = torch.full((64, 3, 224, 224), number, dtype=torch.uint8, pin_memory=True)
        there = upload(batch)
        slow = (slow @ slow).softmax(1)
        sums.append(there.float().mean())
        del batch, there
    assert [float(mean) for mean in sums] == list(range(20))


def test_too_little_memory_halves_the_batches(dataset: Dataset) -> None:
    usual = rows(miner("cuda"), dataset)
    torch.cuda.empty_cache()
    crammed = miner("cuda")
    used = torch.cuda.memory_allocated() + (64 << 20)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(used / total)
    try:
        found = rows(crammed, dataset)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert crammed.halvings > 0
    for one, two in zip(usual, found, strict=True):
        assert one["max"] == pytest.approx(two["max"], rel=1e-4)
