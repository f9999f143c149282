"""Screening and looking again against float32 throughout: the same winners, row for row."""

import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline import schema
from pipeline.cli import mine as cli
from pipeline.commands.mine import mine_run
from pipeline.core.heaps import screening
from pipeline.core.nets.known import Net
from pipeline.data.demo.images import shard_bytes
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.request import MineRequest
from pipeline.run import Run
from pipeline.stages import rescore
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from pipeline.stages.rescore import Looks, rescore_unit
from tests.data.without_ray import in_this_process
from tests.stages import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck)}
COUNT, BROKEN = 90, (0, 17, 18, 89)
IMAGES, SHARDS = 400, 5


def store() -> Store:
    return Store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture(autouse=True, scope="module")
def small_units() -> Iterator[None]:
    """Several tasks in a look, and some of several parts."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rescore, "_FEWEST_IMAGES", 12)
        yield


@pytest.fixture(params=[True, False], ids=["integers", "bfloat16"])
def integers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of reduced precision, where there are both."""
    if request.param and not screening.has_integers():
        pytest.skip("no VNNI here")
    monkeypatch.setattr(screening, "has_integers", lambda: request.param)


# --- the tiny net, whose values are small whole numbers ---------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("precision") / "pictures"
    tiny.write(folder, COUNT, BROKEN)
    return folder


def fast(net: Net, dataset: Dataset, parts: Sequence[Part], top_k: int) -> tuple[Store, Looks]:
    """A run in reduced precision, merged."""
    run = store()
    for part in parts:
        mine_part([Miner.screening(net)], dataset, part, [run], top_k)
    looks = Looks(run, parts, top_k)
    while units := looks.next():
        seen = [rescore_unit(Miner.exact(net), unit, dataset, run, top_k) for unit in units]
        assert seen == [len(unit.samples) for unit in units]
        looks.learn(units)
    merge(run, tiny.spec_of(net, dataset, top_k), [part.name for part in parts], looks)
    return run, looks


@pytest.mark.usefixtures("integers")
@settings(max_examples=12, **SLOW)  # type: ignore[arg-type]
@given(st.sets(st.integers(1, COUNT - 1), max_size=6), st.sampled_from([1, 2, 5, COUNT, 200]))
def test_winners_equal_sorting_everything(folder: Path, cuts: set[int], top_k: int) -> None:
    """With ties, dead maps, maps below zero, broken pictures, parts of any size."""
    net, dataset = tiny.net_of(tiny.module()), tiny.opened(folder)
    keys = sorted(path.name for path in folder.iterdir())
    parts = tiny.parts_of(dataset, keys, np.diff([0, *sorted(cuts), COUNT]).tolist())
    run, looks = fast(net, dataset, parts, top_k)
    everything = tiny.Everything.of(tiny.module(), COUNT)
    maps = run.read_table(schema.FEATURE_MAPS).to_pandas().set_index(["layer", "feature_map"])
    # the dead map is zero to the last bit: how far from firing is not known, so it is not certain
    assert maps["certified"].drop([tiny.DEAD]).all()
    assert looks.certified.tolist() == maps["certified"].tolist()
    for layer in ("first", "second"):
        table = run.read_table(schema.winners_name(layer))
        names = ("feature_map", "rank", "activation", "y", "x", "sample")
        found = list(zip(*(table[name].to_pylist() for name in names), strict=True))
        expected = everything.winners(layer, top_k, BROKEN)
        assert found == expected
        assert table["key"].to_pylist() == [f"{row[-1]:03}.png" for row in found]
        for feature_map, rank, activation, *_ in expected:
            if rank == 1:
                assert maps.loc[(layer, feature_map), "max"] == activation
    assert (maps["images"] == COUNT - len(BROKEN)).all()
    assert maps.loc[tiny.DEAD, "max"] <= 0
    assert maps.loc[tiny.DEAD, "active"] == 0


@pytest.mark.usefixtures("integers")
def test_statistics_are_near_those_of_float32(folder: Path) -> None:
    net, dataset = tiny.net_of(tiny.module()), tiny.opened(folder)
    run, _ = fast(net, dataset, dataset.parts(), 3)
    exact = store()
    for part in dataset.parts():
        mine_part([Miner.exact(net)], dataset, part, [exact], 3)
    spec = tiny.spec_of(net, dataset, 3)
    merge(exact, spec, [part.name for part in dataset.parts()])
    near, true = (one.read_table(schema.FEATURE_MAPS).to_pandas() for one in (run, exact))
    for name in ("mean", "std"):
        np.testing.assert_allclose(near[name], true[name], rtol=0.02, atol=0.1)
    alive = true["max"] > 0
    np.testing.assert_array_equal(near["max"][alive], true["max"][alive])
    assert ((near["max"] > 0) == alive).all()
    assert ((near["active"] > 0) == alive).all()


def test_a_map_that_seems_to_fire_but_does_not_is_dead(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = screening._largest
    monkeypatch.setattr(screening, "_largest", lambda maps: (near(maps)[0] + 1e-3, near(maps)[1]))
    dataset = tiny.opened(folder)
    run, _ = fast(tiny.net_of(tiny.module()), dataset, dataset.parts(), 3)
    maps = run.read_table(schema.FEATURE_MAPS).to_pandas().set_index(["layer", "feature_map"])
    assert maps.loc[tiny.DEAD, "mean"] > 0  # as screened
    assert maps.loc[tiny.DEAD, "max"] == 0
    assert maps.loc[tiny.DEAD, "active"] == 0


@pytest.mark.usefixtures("integers")
def test_a_part_without_a_candidate(tmp_path: Path) -> None:
    """The first one, all of whose pictures are broken; and a dataset where all are."""
    keys = tiny.write(tmp_path / "pictures", 12, (0, 1, 2))
    net, dataset = tiny.net_of(tiny.module()), tiny.opened(tmp_path / "pictures")
    parts = tiny.parts_of(dataset, keys, [3, 9])
    run, _ = fast(net, dataset, parts, 3)
    everything = tiny.Everything.of(tiny.module(), 12).winners("second", 3, (0, 1, 2))
    found = run.read_table(schema.winners_name("second"))["sample"].to_pylist()
    assert found == [row[-1] for row in everything]
    with pytest.raises(RequestError, match="No image of"):
        fast(net, dataset, parts[:1], 3)


# --- what is not finite -----------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [Miner.exact, Miner.screening], ids=["exact", "fast"])
@pytest.mark.usefixtures("integers")
def test_what_is_not_finite_names_layer_and_picture(
    prepare: Callable[[Net], Miner], tmp_path: Path
) -> None:
    """The picture where it begins, though in 8 bits the whole batch is spoilt behind it."""
    for number in range(40):
        pixels = np.full((tiny.SIDE, tiny.SIDE, 3), 255 if number == 35 else 0, np.uint8)
        (tmp_path / f"{number:02}.png").write_bytes(tiny.png(pixels))
    first, second, third = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        for conv in (first, second, third):
            nn.init.ones_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        second.weight[1] = 1e38
    module = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), third)
    net, dataset, run = tiny.net_of(module), tiny.opened(tmp_path), store()
    (part,) = dataset.parts()
    mine_part([prepare(net)], dataset, part, [run], 3)
    (row,) = run.read_table(schema.skipped_name(part.name)).to_pylist()
    assert row["key"] == "35.png"
    assert row["reason"] == "layer second, feature map 1 is inf on it"


@pytest.mark.usefixtures("integers")
def test_a_weight_that_is_nan_is_seen_by_screening(folder: Path) -> None:
    module, dataset, run = tiny.module(), tiny.opened(folder), store()
    with torch.no_grad():
        module[0].weight[2, 0, 0, 0] = torch.nan
    miner = Miner.screening(tiny.net_of(module))
    part = dataset.parts()[0]
    mine_part([miner], dataset, part, [run], 3)
    reasons = set(run.read_table(schema.skipped_name(part.name))["reason"].to_pylist())
    assert "layer first, feature map 2 is nan on it" in reasons


# --- a trained net on pictures ----------------------------------------------------------------


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated pictures in shards, a few of which cannot be decoded."""
    folder = tmp_path_factory.mktemp("tars")
    size = IMAGES // SHARDS
    for shard in range(SHARDS):
        some = range(shard * size, (shard + 1) * size)
        data = bytearray(shard_bytes(some, size=(130, 120)))
        for broken in (data.find(b"\xff\xd8\xff", at) for at in (0, len(data) // 2)):
            data[broken : broken + 3] = b"no!"
        (folder / f"{shard}.tar").write_bytes(data)
    return folder


def mined(tars: Path, run: Path, precision: str, **more: object) -> Run:
    """By the function behind the command."""
    asked = {"data": str(tars), "run": str(run), "net": "demo", "precision": precision, "top_k": 3}
    return mine_run(MineRequest.model_validate(asked | more))


@pytest.fixture(scope="module")
def exact(tars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("exact") / "run"
    with pytest.MonkeyPatch.context() as patched:
        in_this_process(patched)
        mined(tars, run, "exact")
    return run


@pytest.fixture(scope="module")
def fast_run(tars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("fast") / "run"
    with pytest.MonkeyPatch.context() as patched:
        in_this_process(patched)
        mined(tars, run, "fast")
    return run


def objects(run: Path, folder: str = "") -> dict[str, bytes]:
    """All files of a run, but what it took, or those of a folder of it."""
    paths = (path for path in (run / folder).rglob("*") if path.parent.name != "progress")
    files = sorted(path for path in paths if path.is_file())
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def assert_same_winners(run: Path, other: Path) -> None:
    one, two = objects(run, schema.WINNERS), objects(other, schema.WINNERS)
    assert len(one) == 5
    assert one == two


def test_the_same_winners_in_reduced_precision(exact: Path, fast_run: Path) -> None:
    """To the last byte, of a trained net on pictures; and not by looking at everything."""
    assert_same_winners(exact, fast_run)
    assert objects(exact, schema.SKIPPED) == objects(fast_run, schema.SKIPPED)
    near, true = (Store(str(run)).read_table(schema.FEATURE_MAPS) for run in (fast_run, exact))
    assert pc.mean(near["certified"].cast("int8")).as_py() > 0.98
    assert near["images"].equals(true["images"])
    looked = sum(
        Store(str(fast_run)).read_table(name)["images"][0].as_py()
        for name in objects(fast_run, schema.HEAPS)
    )
    print(f"{looked} of {IMAGES} looked at again")


def test_bfloat16_too(
    exact: Path, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screening, "has_integers", lambda: False)
    in_this_process(monkeypatch)
    mined(tars, tmp_path / "run", "fast")
    assert_same_winners(exact, tmp_path / "run")


def test_another_number_of_ranks(
    tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    for precision in ("exact", "fast"):
        mined(tars, tmp_path / precision, precision, top_k=40, layers=("conv2", "conv5"))
    one, two = (objects(tmp_path / name, schema.WINNERS) for name in ("exact", "fast"))
    assert one == two


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    fast_run: Path, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever files are there, and whichever of later looks without those of earlier ones."""
    in_this_process(monkeypatch)
    whole = objects(fast_run)
    files = [name for name in whole if name.startswith((schema.HEAPS, schema.SCREEN))]
    if screening.has_integers():  # looks, in the plural: bfloat16 is near enough for one
        assert any(name.endswith("-1.parquet") for name in files)
    rng = np.random.default_rng(0)
    for number in range(5):
        run = tmp_path / str(number)
        shutil.copytree(fast_run, run)
        shutil.rmtree(run / schema.WINNERS)
        (run / schema.FEATURE_MAPS).unlink()
        for name in files:
            if rng.random() < (0.2, 0.5, 1.0)[number % 3]:
                (run / name).unlink()
        kept = {name for name in files if (run / name).exists()}
        before = {name: (run / name).stat().st_mtime_ns for name in kept}
        mined(tars, run, "fast")
        assert objects(run) == whole
        assert {name: (run / name).stat().st_mtime_ns for name in kept} == before


def test_an_uncertified_map_is_told(
    tars: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Errors too large for the candidates held: it says so."""
    in_this_process(monkeypatch)
    near = screening._largest

    def blurred(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, places = near(maps)
        noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(len(values)))
        return values + 3 * values.std() * noise, places

    monkeypatch.setattr(screening, "_largest", blurred)
    run = mined(tars, tmp_path / "run", "fast", layers=("conv5",), top_k=1)
    uncertified = int((~run.feature_maps()["certified"]).sum())
    assert uncertified > 30
    cli._say_mined(run)
    assert f"{uncertified} feature maps are not certified" in capsys.readouterr().out
