"""Mining a part: its heap file against activations held in memory; faults leave nothing behind."""

import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import schema
from pipeline.core.heaps.topk import NOBODY, Heaps
from pipeline.core.nets.known import Net
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.data.stored import part_columns
from pipeline.schema import SAMPLES_IN_PART
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner, mine
from pipeline.stages.part import PartDone, mine_part
from tests.stages import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT = 45
BROKEN = (3, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine") / "pictures"
    tiny.write(folder, COUNT, BROKEN)
    return folder


def store() -> Store:
    return Store(f"memory://{uuid.uuid4().hex}")


def mined(net: Net, dataset: Dataset, part: Part, run: Store, top_k: int = 3) -> PartDone:
    return mine_part([Miner.exact(net)], dataset, part, [run], top_k)


def heaps_of(net: Net, dataset: Dataset, part: Part, top_k: int) -> Heaps:
    """The heaps of a part, held in memory."""
    miner = Miner.exact(net)
    heaps = Heaps.empty(miner.peaks.bounds, top_k)
    mine([miner], [heaps], enumerate(dataset.read(part)))
    return heaps


@pytest.mark.parametrize("decoders", [1, 3])
def test_a_heap_file_holds_the_winners_of_its_part(folder: Path, decoders: int) -> None:
    module, run, dataset = tiny.module(), store(), tiny.opened(folder)
    net = tiny.net_of(module)
    keys = sorted(path.name for path in folder.iterdir())
    (part,) = tiny.parts_of(dataset, keys, [COUNT])
    done = mine_part([Miner.exact(net)], dataset, part, [run], 6, decoders)

    assert done == PartDone(part.name, COUNT - len(BROKEN), len(BROKEN))
    table = run.read_table(schema.heap_name(part.name))
    assert table.schema.equals(part_columns.HEAP)
    assert int(table.schema.metadata[SAMPLES_IN_PART]) == COUNT
    everything = tiny.Everything.of(module, COUNT)
    used = [number for number in range(COUNT) if number not in BROKEN]
    rows = table.to_pylist()
    assert [(row["layer"], row["feature_map"]) for row in rows] == [
        *(("first", n) for n in range(4)),
        *(("second", n) for n in range(3)),
    ]
    for row in rows:
        maps = everything.maps[row["layer"]][used, row["feature_map"]]
        peaks = maps.reshape(len(used), -1).max(1).astype(np.float64)
        assert row["images"] == len(used)
        assert row["active"] == (peaks > 0).sum()
        assert row["max"] == peaks.max()
        assert row["total"] == peaks.sum()
        assert row["total_squares"] == (peaks**2).sum()
    for layer in ("first", "second"):
        found = [
            (row["feature_map"], rank, entry["activation"], entry["y"], entry["x"], entry["sample"])
            for row in rows
            if row["layer"] == layer
            for rank, entry in enumerate(row["winners"], 1)
        ]
        assert found == everything.winners(layer, 6, BROKEN)
    samples = rows[0]["samples"]
    winning = {entry["sample"] for row in rows for entry in row["winners"]}
    assert [sample["sample"] for sample in samples] == sorted(winning)
    assert all(sample["key"] == keys[sample["sample"]] for sample in samples)
    assert {(sample["height"], sample["width"]) for sample in samples} == {(tiny.SIDE, tiny.SIDE)}
    assert not any(row["samples"] for row in rows[1:])

    skipped = run.read_table(schema.skipped_name(part.name)).to_pylist()
    assert [row["key"] for row in skipped] == [keys[number] for number in BROKEN]
    assert all(row["reason"] for row in skipped)


def test_dead_maps_and_maps_below_zero_have_no_winners(folder: Path) -> None:
    everything = tiny.Everything.of(tiny.module(), COUNT)
    assert everything.maps["first"][:, 1].max() == 0
    assert everything.maps["second"][:, 2].max() < 0
    dataset, net = tiny.opened(folder), tiny.net_of(tiny.module())
    (part,) = dataset.parts()
    heaps = heaps_of(net, dataset, part, 3)
    assert (heaps.samples[[1, 6]] == NOBODY).all()
    assert (heaps.samples[[0, 2, 3, 4, 5]] != NOBODY).all()
    assert heaps.peak[1] == 0
    assert heaps.peak[6] < 0


def test_the_same_part_again_stores_the_same_content(folder: Path) -> None:
    dataset, net = tiny.opened(folder), tiny.net_of(tiny.module())
    (part,) = dataset.parts()
    one, two = store(), store()
    for run in (one, two, two):
        mined(net, dataset, part, run)
    assert list(one.list()) == list(two.list())
    for name in one.list():
        assert one.read(name) == two.read(name)


def test_a_part_without_a_usable_picture_is_done_and_empty(tmp_path: Path) -> None:
    keys = tiny.write(tmp_path / "broken", 5, broken=(1, 2, 3))
    dataset, net, run = tiny.opened(tmp_path / "broken"), tiny.net_of(tiny.module()), store()
    part = tiny.parts_of(dataset, keys, [1, 3, 1])[1]
    assert mined(net, dataset, part, run) == PartDone(part.name, 0, 3)
    rows = run.read_table(schema.heap_name(part.name)).to_pylist()
    assert len(rows) == 7
    assert all(row["winners"] == [] and row["images"] == 0 for row in rows)


# --- what is not finite -----------------------------------------------------------------------


def overflowing() -> Net:
    """Infinite in one feature map of its second layer, where a picture is white."""
    first, second = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 3, 1)
    with torch.no_grad():
        for conv in (first, second):
            nn.init.ones_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        second.weight[1] = 1e38
    net = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU())
    return tiny.net_of(net)


@pytest.fixture
def one_white(tmp_path: Path) -> Path:
    """Pictures that are black but for one."""
    folder = tmp_path / "one white"
    folder.mkdir()
    for number in range(40):
        pixels = np.full((tiny.SIDE, tiny.SIDE, 3), 255 if number == 35 else 0, np.uint8)
        (folder / f"{number:02}.png").write_bytes(tiny.png(pixels))
    return folder


def test_a_picture_with_an_infinite_activation_is_skipped(one_white: Path) -> None:
    """All else is as if it had not been there."""
    dataset, run, without = tiny.opened(one_white), store(), store()
    (part,) = dataset.parts()
    mined(overflowing(), dataset, part, run)
    (row,) = run.read_table(schema.skipped_name(part.name)).to_pylist()
    assert (row["shard"], row["key"]) == (str(one_white), "35.png")
    assert row["reason"] == "layer second, feature map 1 is inf on it"
    (one_white / "35.png").write_bytes(b"no picture")
    (part,) = (dataset := tiny.opened(one_white)).parts()
    mined(overflowing(), dataset, part, without)
    name = schema.heap_name(part.name)
    assert run.read_table(name).equals(without.read_table(name))


def test_too_little_memory_halves_the_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once and for all; the part is begun anew, with nothing lost or counted twice."""
    dataset, net, usual, run = tiny.opened(folder), tiny.net_of(tiny.module()), store(), store()
    (part,) = dataset.parts()
    mined(net, dataset, part, usual)
    maxima, sizes = Miner.maxima, []

    def crammed(miner: Miner, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(images))
        if len(images) > 16 or len(sizes) == 3:
            raise torch.OutOfMemoryError("no room")
        return maxima(miner, images)

    monkeypatch.setattr(Miner, "maxima", crammed)
    miner = Miner.exact(net)
    for _ in range(2):
        mine_part([miner], dataset, part, [run], 3)
        assert miner.stream.size == 8
    assert sizes[:3] == [64, 32, 16]
    assert set(sizes[3:]) == {8}
    assert len([line for line in caplog.messages if "halved" in line]) == 3
    name = schema.heap_name(part.name)
    assert run.read_table(name).equals(usual.read_table(name))


def test_no_memory_at_all_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Miner, "maxima", never)
    dataset = tiny.opened(folder)
    with pytest.raises(torch.OutOfMemoryError):
        mined(tiny.net_of(tiny.module()), dataset, dataset.parts()[0], store())


def test_where_every_picture_has_a_nan_all_are_skipped(folder: Path) -> None:
    module, dataset, run = tiny.module(), tiny.opened(folder), store()
    with torch.no_grad():
        module[0].bias[2] = torch.nan
    (part,) = dataset.parts()
    mined(tiny.net_of(module), dataset, part, run)
    reasons = set(run.read_table(schema.skipped_name(part.name))["reason"].to_pylist())
    assert "layer first, feature map 2 is nan on it" in reasons
    assert set(run.read_table(schema.heap_name(part.name))["images"].to_pylist()) == {0}


def test_the_black_tail_of_a_batch_is_never_looked_at(tmp_path: Path) -> None:
    """A bias that is infinite on black shows only where a real picture is black."""
    folder = tmp_path / "white"
    folder.mkdir()
    white = np.full((tiny.SIDE, tiny.SIDE, 3), 255, np.uint8)
    (folder / "a.png").write_bytes(tiny.png(white))
    conv = nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(-1)
        conv.bias.fill_(5)  # type: ignore[union-attr]
    net = tiny.net_of(nn.Sequential(conv, nn.ReLU()))  # 2 on white, 5 on black
    dataset = tiny.opened(folder)
    heaps = heaps_of(net, dataset, dataset.parts()[0], 2)
    assert heaps.images == 1
    assert heaps.values.tolist() == [[2.0, 0.0]]


def test_the_strongest_values_of_all_layers_lie_side_by_side() -> None:
    module = tiny.module()
    images = torch.stack([torch.from_numpy(tiny.picture(n)).permute(2, 0, 1) for n in range(7)])
    values, places = Miner.exact(tiny.net_of(module)).maxima(images)
    with torch.no_grad():
        layers = [module[0](images / 255), module(images / 255)]  # the first before rectification
    flat = [maps.flatten(2).numpy() for maps in layers]
    np.testing.assert_array_equal(values, np.concatenate([maps.max(2) for maps in flat], 1))
    np.testing.assert_array_equal(places, np.concatenate([maps.argmax(2) for maps in flat], 1))


# --- rectifiers that saturate -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rectifier", "cut", "smaller"),
    [
        (nn.ReLU6(), 6, 3),
        (nn.Hardtanh(0, 6), 6, 3),
        (nn.Hardtanh(-6, 6), 6, 3),
        (nn.Hardsigmoid(), 1, 1),
    ],
    ids=str,
)
def test_what_saturates_is_ranked_by_what_it_was_before(
    tmp_path: Path, rectifier: nn.Module, cut: int, smaller: int
) -> None:
    """Maxima of 9 and of 90 are cut off alike; the place is that of the 90."""
    conv = nn.Conv2d(3, 1, 1, bias=False)
    with torch.no_grad():
        conv.weight.fill_(255 / 3)  # the mean grey level
    greys = [3, 90, 9, 0, 9, 200]
    (folder := tmp_path / "grey").mkdir()
    for number, grey in enumerate(greys):
        pixels = np.zeros((tiny.SIDE, tiny.SIDE, 3), np.uint8)
        pixels[0, 1:], pixels[5, 7] = min(grey, 7), grey
        (folder / f"{number}.png").write_bytes(tiny.png(pixels))
    net, dataset, run = tiny.net_of(nn.Sequential(conv, rectifier)), tiny.opened(folder), store()
    (part,) = dataset.parts()
    mined(net, dataset, part, run, 9)
    merge(run, tiny.spec_of(net, dataset, 9), [part.name])
    winners = run.read_table(schema.winners_name("first")).to_pandas()
    is_gate = isinstance(rectifier, nn.Hardsigmoid)  # of which a black picture's half is active
    assert winners["sample"].tolist() == [5, 1, 2, 4, 0, 3][: 6 if is_gate else 5]
    np.testing.assert_allclose(winners["activation"][:5], [*[cut] * 4, smaller], rtol=1e-6)
    before = winners["before_rectification"].tolist()
    least = 3 if is_gate else np.nan
    np.testing.assert_allclose(before[:5], [200, 90, 9, 9, least], rtol=1e-6)
    assert set(zip(winners["y"][:4], winners["x"][:4], strict=True)) == {(5, 7)}
    feature_map = run.read_table(schema.FEATURE_MAPS).to_pylist()[0]
    assert feature_map["max"] == cut
    assert feature_map["active"] == len(winners)
