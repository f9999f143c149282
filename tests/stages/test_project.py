"""Projecting a run: every winner exactly once, whatever was done before; the heaps are checked."""

import io
import tarfile
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline import schema
from pipeline.core.graph.trace import Graph
from pipeline.core.projection import either_way
from pipeline.core.projection.ascent import Ascent, ascend
from pipeline.data.formats.dataset import Dataset
from pipeline.data.store import Store
from pipeline.errors import IncompleteError, NumericsError, RequestError
from pipeline.stages import waiting as before
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from pipeline.stages.project import ProjectSettings, project_unit
from pipeline.stages.waiting import Waiting, waiting
from tests.core import guided
from tests.stages import tiny
from tests.stages.projected import project

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT, TOP_K = 70, 12
LAYERS = ("first", "second")
KEYS = ("feature_map", "rank")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "pictures"
    tiny.write(folder, COUNT)
    return folder


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    return tiny.opened(folder)


@pytest.fixture
def run(dataset: Dataset) -> Store:
    """A run that has been mined."""
    return tiny.mined(dataset, TOP_K)


def projected(
    run: Store,
    dataset: Dataset,
    rank_limit: int | None = None,
    settings: ProjectSettings | None = None,
) -> int:
    """Do what is left to do; how many winners that were."""
    return project(run, tiny.net_of(tiny.module()), dataset, LAYERS, rank_limit, settings)


def rows_of(run: Store, layer: str) -> list[dict[str, object]]:
    names = run.list(f"{schema.PROJECTIONS}/layer={layer}")
    rows = [row for name in names for row in run.read_table(name).to_pylist()]
    return sorted(rows, key=lambda row: (row["feature_map"], row["rank"]))


def keys_of(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [tuple(row[key] for key in KEYS) for row in rows]


def winners_of(run: Store, layer: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = run.read_table(schema.winners_name(layer)).to_pylist()
    return rows


def assert_complete(run: Store) -> None:
    for layer in LAYERS:
        made, winners = rows_of(run, layer), winners_of(run, layer)
        assert keys_of(made) == keys_of(winners)
        shared = set(schema.PROJECTION.names) & set(schema.WINNER.names)
        for row, winner in zip(made, winners, strict=True):
            assert {key: row[key] for key in shared} == {key: winner[key] for key in shared}


def test_every_winner_is_projected_once_and_then_nothing_is_left(
    run: Store, dataset: Dataset
) -> None:
    assert projected(run, dataset) == sum(len(winners_of(run, layer)) for layer in LAYERS) > 0
    assert_complete(run)
    assert waiting(run, LAYERS) == Waiting([], [])
    for name in run.list(schema.PROJECTIONS):
        assert run.read_table(name).schema.equals(schema.PROJECTION)


def test_the_whole_picture_is_kept_of_the_ranks_that_an_atlas_shows(
    run: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "RANKS_SHOWN", 2)
    projected(run, dataset)
    looked_at = 0
    for layer in LAYERS:
        for row in rows_of(run, layer):
            assert (row["picture"] is not None) == (row["rank"] <= 2)  # type: ignore[operator]
            if row["picture"] is not None:
                whole, patch = (_pixels(row[name]) for name in ("picture", "patch"))
                box = [row[side] for side in schema.SIDES]
                of_patch = whole[box[0] : box[2], box[1] : box[3]]  # type: ignore[misc]
                looked_at += 1
                assert of_patch.shape == patch.shape
                # noise: a JPEG keeps how light it is
                grey = np.stack([picture.mean(2).ravel() for picture in (of_patch, patch)])
                assert np.corrcoef(grey)[0, 1] > 0.7
    assert looked_at


def _pixels(encoded: object) -> np.ndarray:
    assert isinstance(encoded, bytes)
    with Image.open(io.BytesIO(encoded)) as opened:
        return np.array(opened.convert("RGB")).astype(float)


def test_an_image_is_in_one_task_and_tasks_are_in_the_order_of_the_dataset(
    run: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before, "_IMAGES_IN_UNIT", 32)
    samples = [table["sample"].to_pylist() for table in waiting(run, LAYERS).units]
    assert sum(samples, []) == sorted(sum(samples, []))  # noqa: RUF017
    assert len(samples) > 1
    images = [len(set(some)) for some in samples]
    assert max(images) <= 32
    assert sum(images) == len(set().union(*samples))
    monkeypatch.setattr(before, "_WINNERS_IN_UNIT", 1)
    singly = waiting(run, LAYERS).units
    assert len(singly) == sum(images)


def test_what_one_lost_file_held_is_done_again_and_nothing_else(
    run: Store, dataset: Dataset
) -> None:
    projected(run, dataset)
    lost = list(run.list(schema.PROJECTIONS))[1]
    kept = {name: run.read(name) for name in run.list(schema.PROJECTIONS) if name != lost}
    layer = lost.split("/")[1].removeprefix("layer=")
    expected = sorted(keys_of(run.read_table(lost).to_pylist()))
    run.fs.rm(run.path(lost))

    (again,) = waiting(run, LAYERS).units
    again = again.filter(again["missing"])
    assert again["layer"].unique().to_pylist() == [layer]
    assert sorted(keys_of(again.to_pylist())) == expected
    assert projected(run, dataset) == len(expected)
    assert_complete(run)
    assert {name: run.read(name) for name in kept} == kept


def test_first_the_best_ranks_then_all_of_them(run: Store, dataset: Dataset) -> None:
    best = [row for layer in LAYERS for row in winners_of(run, layer) if row["rank"] <= 2]  # type: ignore[operator]
    assert projected(run, dataset, rank_limit=2) == len(best)
    assert all(row["rank"] <= 2 for layer in LAYERS for row in rows_of(run, layer))  # type: ignore[operator]
    assert waiting(run, LAYERS, 2).blocks == []
    assert projected(run, dataset, rank_limit=5) > 0
    assert projected(run, dataset) > 0
    assert_complete(run)


def test_one_layer_alone(run: Store, dataset: Dataset) -> None:
    net = tiny.net_of(tiny.module())
    project(run, net, dataset, ["second"])
    assert keys_of(rows_of(run, "second")) == keys_of(winners_of(run, "second"))
    assert rows_of(run, "first") == []


def test_arrays_are_the_projections_that_autograd_gives(run: Store, dataset: Dataset) -> None:
    projected(run, dataset, settings=ProjectSettings(arrays=True))
    for name in run.list(schema.PROJECTIONS):
        expected = pa.schema([*schema.PROJECTION, schema.PROJECTION_ARRAY])
        assert run.read_table(name).schema.equals(expected)
    module = tiny.module()
    for layer, path in (("first", "0"), ("second", "3")):
        nonzero = 0
        for row in rows_of(run, layer):
            image = tiny.tensor(row["sample"])[None].requires_grad_()  # type: ignore[arg-type]
            maps = guided.layers(module, image)[path]
            place = [[row["feature_map"]], [row["y"]], [row["x"]]]
            full = guided.project(maps, image, *place)[0]  # type: ignore[arg-type]
            top, left, bottom, right = (row[side] for side in ("top", "left", "bottom", "right"))
            data = row["projection_array"]
            assert isinstance(data, bytes)
            made = np.frombuffer(data, "<f4").reshape(3, bottom - top, right - left)  # type: ignore[operator]
            box = full[:, top:bottom, left:right]  # type: ignore[misc]
            np.testing.assert_allclose(made, box, rtol=1e-5, atol=1e-5)
            assert full.abs().sum() == box.abs().sum()
            nonzero += bool(box.any())
        assert nonzero > 10


def test_pictures_are_the_box_of_the_input(run: Store, dataset: Dataset) -> None:
    projected(run, dataset)
    for row in [row for layer in LAYERS for row in rows_of(run, layer)]:
        top, left, bottom, right = (row[side] for side in ("top", "left", "bottom", "right"))
        patch, projection = (
            np.asarray(Image.open(io.BytesIO(row[name])))  # type: ignore[arg-type]
            for name in ("patch", "projection")
        )
        expected = tiny.picture(row["sample"])[top:bottom, left:right]  # type: ignore[arg-type, misc]
        np.testing.assert_array_equal(patch, expected)
        assert projection.shape == patch.shape


def test_masks_say_where_the_projections_are_strong(run: Store, dataset: Dataset) -> None:
    """The share is that of the unnormalised projection; what is not in the mask's box is weak."""
    projected(run, dataset, settings=ProjectSettings(arrays=True))
    some = 0
    for row in [row for layer in LAYERS for row in rows_of(run, layer)]:
        top, left, bottom, right = (row[side] for side in ("top", "left", "bottom", "right"))
        shape = 3, bottom - top, right - left  # type: ignore[operator]
        made = np.frombuffer(row["projection_array"], "<f4").reshape(shape)  # type: ignore[call-overload]
        magnitude = np.sqrt((made.astype(np.float64) ** 2).sum(0))
        cells = np.asarray(Image.open(io.BytesIO(row["mask"])))  # type: ignore[arg-type]
        assert cells.shape == magnitude.shape  # a field of so few pixels has a cell for each
        expected = magnitude[cells].sum() / max(magnitude.sum(), 1e-30)
        assert row["mask_share"] == pytest.approx(expected, rel=1e-5)
        box = [row[f"mask_{side}"] for side in ("top", "left", "bottom", "right")]
        assert top <= box[0] < box[2] <= bottom  # type: ignore[operator]
        assert left <= box[1] < box[3] <= right  # type: ignore[operator]
        inside = magnitude[box[0] - top : box[2] - top, box[1] - left : box[3] - left]  # type: ignore[operator]
        assert inside.sum() >= magnitude[cells].sum() * (1 - 1e-6)
        some += bool(cells.any())
    assert some > 10


def test_winners_that_are_an_earlier_one_again_are_marked(run: Store, dataset: Dataset) -> None:
    """Every fifth picture is a copy of another one; in whatever order the ranks are projected."""
    projected(run, dataset, rank_limit=2)
    projected(run, dataset)
    some = 0
    for layer in LAYERS:
        rows = rows_of(run, layer)
        for feature_map in {row["feature_map"] for row in rows}:
            seen: dict[bytes, int] = {}
            of_map = [row for row in rows if row["feature_map"] == feature_map]
            for row in sorted(of_map, key=lambda row: row["rank"]):  # type: ignore[arg-type, return-value]
                picture = tiny.picture(row["sample"]).tobytes()  # type: ignore[arg-type]
                assert row["same_as"] == seen.get(picture)
                seen.setdefault(picture, row["rank"])  # type: ignore[arg-type]
                some += row["same_as"] is not None
    assert some > 3


def test_unpooling_is_a_setting(run: Store, dataset: Dataset) -> None:
    other = Store(f"memory://{uuid.uuid4().hex}")
    for name in run.list():
        other.write(name, run.read(name))
    projected(run, dataset, settings=ProjectSettings("sum", arrays=True))
    projected(other, dataset, settings=ProjectSettings("max", arrays=True))
    for layer, differ in (("first", False), ("second", True)):  # no pool below the first layer
        one, two = (
            [row["projection_array"] for row in rows_of(store, layer)] for store in (run, other)
        )
        assert len(one) == len(two) > 0
        assert (one != two) == differ


def test_windows_and_whole_images_give_the_same_rows(
    run: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny net's numbers are whole, so they come out the same in any order."""
    made = []
    for depth in (0, 1, 2):
        other = Store(f"memory://{uuid.uuid4().hex}")
        for name in run.list():
            other.write(name, run.read(name))
        monkeypatch.setattr(
            either_way, "whole_depths", lambda _, images, __, depth=depth: np.full(images, depth)
        )
        projected(other, dataset, settings=ProjectSettings(arrays=True))
        made.append([rows_of(other, layer) for layer in LAYERS])
    assert all(made[0])
    assert made[0] == made[1] == made[2]


def test_winners_that_are_few_are_not_worth_a_whole_image(
    run: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[int] = []

    def watched(graph: Graph, images: Tensor) -> Ascent:
        whole.append(len(images))
        return ascend(graph, images)

    monkeypatch.setattr(either_way, "ascend", watched)
    assert projected(run, dataset, rank_limit=1) > 0
    assert whole == []


# --- what does not come out as it was mined ---------------------------------------------------


def test_a_tampered_activation_names_layer_map_and_image(run: Store, dataset: Dataset) -> None:
    name = schema.winners_name("second")
    rows = winners_of(run, "second")
    rows[4]["activation"] *= 1.01  # type: ignore[operator]
    run.write_table(name, pa.Table.from_pylist(rows, schema.WINNER))
    expected = (
        f"^Layer second, feature map {rows[4]['feature_map']}, rank {rows[4]['rank']}: "
        f"the activation on {rows[4]['key']} of .* but .* was mined"
    )
    with pytest.raises(NumericsError, match=expected):
        projected(run, dataset)


def test_rounding_is_allowed_by_the_layers_largest_activation(run: Store, dataset: Dataset) -> None:
    """A weak row passes on its own as it does beside a strong one."""
    largest = run.read_table(schema.FEATURE_MAPS, ["layer", "max"]).to_pandas()
    largest = largest.groupby("layer")["max"].max()["second"]
    name = schema.winners_name("second")
    rows = winners_of(run, "second")
    weakest = min(rows, key=lambda row: float(row["activation"]))  # type: ignore[arg-type]
    off = 1e-3 * weakest["activation"] + 0.9e-5 * largest  # type: ignore[operator]
    weakest["activation"] += off  # type: ignore[operator]
    run.write_table(name, pa.Table.from_pylist([weakest], schema.WINNER))
    run.write_table(schema.winners_name("first"), pa.Table.from_pylist([], schema.WINNER))
    assert projected(run, dataset) == 1


def test_another_net_is_noticed(run: Store, dataset: Dataset) -> None:
    module = tiny.module()
    with torch.no_grad():
        module[3].weight *= 1.1
    net, table = tiny.net_of(module), waiting(run, LAYERS).units[0]
    with pytest.raises(NumericsError, match=r"^Layer second, feature map"):
        project_unit(net, table, dataset, run, ProjectSettings())


def test_an_image_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    tiny.write(tmp_path / "pictures", 5)
    dataset, net = tiny.opened(tmp_path / "pictures"), tiny.net_of(tiny.module())
    run = Store(f"memory://{uuid.uuid4().hex}")
    (part,) = dataset.parts()
    mine_part([Miner.exact(net)], dataset, part, [run], 5)
    merge(run, tiny.spec_of(net, dataset, 5), [part.name])
    place = tmp_path / "pictures" / "002.png"
    before = place.read_bytes()

    place.write_bytes(tiny.png(255 - tiny.picture(2)))
    with pytest.raises(NumericsError, match=r"the activation on 002\.png of .*was mined"):
        projected(run, dataset)
    place.write_bytes(before[:60])
    with pytest.raises(NumericsError, match=r"^002\.png of .* could be read when it was mined"):
        projected(run, dataset)
    place.unlink()
    with pytest.raises(IncompleteError, match=r"002\.png is not found; put it back"):
        projected(run, dataset)
    assert not run.list(schema.PROJECTIONS)
    place.write_bytes(before)
    assert projected(run, dataset) > 0
    assert_complete(run)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_two_pictures_of_one_name(tmp_path: Path, suffix: str) -> None:
    """Offsets tell them apart; where there are none, nothing is left out in silence."""
    with tarfile.open(tmp_path / f"a.{suffix}", "w:gz" if suffix.endswith("gz") else "w") as tar:
        for number, name in ((1, "one.png"), (2, "two.png"), (1, "one.png")):
            data = tiny.png(tiny.picture(number))
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    dataset, net = tiny.opened(tmp_path / f"a.{suffix}"), tiny.net_of(tiny.module())
    run = Store(f"memory://{uuid.uuid4().hex}")
    (part,) = dataset.parts()
    assert mine_part([Miner.exact(net)], dataset, part, [run], 3).images == 3
    merge(run, tiny.spec_of(net, dataset, 3), [part.name])
    if suffix == "tar":
        projected(run, dataset)
        assert_complete(run)
    else:
        with pytest.raises(RequestError, match=r"holds one\.png twice"):
            projected(run, dataset)


def test_a_run_that_is_not_mined_to_its_end_is_refused(run: Store) -> None:
    run.fs.rm(run.path(schema.FEATURE_MAPS))
    with pytest.raises(RequestError, match="is not mined to its end; give the same `"):
        waiting(run, LAYERS)
