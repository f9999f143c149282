"""Merging parts: the same winners however the dataset was cut, and those of sorting everything."""

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import schema
from pipeline.data.store import Store
from pipeline.errors import RequestError, WriteError
from pipeline.stages.merging import condense, ranking
from pipeline.stages.merging import merge as merge_module
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from tests.stages import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT = 40
BROKEN = (0, 17, 18)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merge") / "pictures"
    tiny.write(folder, COUNT, BROKEN)
    return folder


def mined(folder: Path, sizes: Sequence[int], top_k: int, order: Sequence[int] = ()) -> Store:
    """A run of parts of these sizes, mined in some order and merged."""
    run = Store(f"memory://{uuid.uuid4().hex}")
    dataset, net = tiny.opened(folder), tiny.net_of(tiny.module())
    keys = sorted(path.name for path in folder.iterdir())
    parts, miner = tiny.parts_of(dataset, keys, list(sizes)), Miner.exact(net)
    for number in order or range(len(parts)):
        mine_part([miner], dataset, parts[number], [run], top_k)
    merge(run, tiny.spec_of(net, dataset, top_k), [part.name for part in parts])
    return run


@st.composite
def cuts(draw: st.DrawFn) -> list[int]:
    """Sizes of parts that add up to all pictures."""
    ends = sorted(draw(st.sets(st.integers(1, COUNT - 1), max_size=8)))
    return np.diff([0, *ends, COUNT]).tolist()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts(), st.sampled_from([1, 2, 5, COUNT, 3 * COUNT]), st.data())
def test_winners_equal_sorting_everything_however_the_dataset_is_cut(
    folder: Path, sizes: list[int], top_k: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(sizes))))
    run = mined(folder, sizes, top_k, order)
    everything = tiny.Everything.of(tiny.module(), COUNT)
    for layer in ("first", "second"):
        table = run.read_table(schema.winners_name(layer))
        assert table.schema.equals(schema.WINNER)
        names = ("feature_map", "rank", "activation", "y", "x", "sample")
        found = list(zip(*(table[name].to_pylist() for name in names), strict=True))
        assert found == everything.winners(layer, top_k, BROKEN)
        assert table["key"].to_pylist() == [f"{row[-1]:03}.png" for row in found]


def test_one_part_and_many_give_the_same_objects(folder: Path) -> None:
    one, many = mined(folder, [COUNT], 4), mined(folder, [1, 9, 7, 1, 22], 4, [4, 2, 0, 1, 3])
    for name in (schema.winners_name("first"), schema.winners_name("second")):
        assert one.read(name) == many.read(name)
    assert one.read_table(schema.FEATURE_MAPS).equals(many.read_table(schema.FEATURE_MAPS))


@pytest.fixture
def three_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were very many parts: ranges of three are condensed first, layer by layer."""
    monkeypatch.setattr(merge_module, "_WINNERS_IN_SHARE", 1)
    monkeypatch.setattr(condense, "_PARTS", 3)
    monkeypatch.setattr(condense, "_FEWEST", 4)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts(), st.sampled_from([1, 5, 3 * COUNT]))
def test_condensing_ranges_of_parts_changes_nothing(
    folder: Path, three_together: None, sizes: list[int], top_k: int
) -> None:
    usual, run = mined(folder, [COUNT], top_k), mined(folder, sizes, top_k)
    for name in usual.list(schema.WINNERS):
        assert run.read(name) == usual.read(name)
    one, other = (each.read_table(schema.FEATURE_MAPS) for each in (usual, run))
    exact = [name for name in one.column_names if name not in ("mean", "std")]
    assert other.select(exact).equals(one.select(exact))
    for name in ("mean", "std"):  # sums of other sums
        np.testing.assert_allclose(other[name], one[name], rtol=1e-9, atol=1e-12)
    assert not run.list(schema.MERGING)


def test_nothing_stays_of_what_is_condensed(
    folder: Path, three_together: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Store(f"memory://{uuid.uuid4().hex}")
    killed = schema.condensed_name("another", 0, 0)
    run.write(killed, b"of an attempt that was killed")
    dataset, net = tiny.opened(folder), tiny.net_of(tiny.module())
    keys = sorted(path.name for path in folder.iterdir())
    parts = tiny.parts_of(dataset, keys, [8] * 5)
    for part in parts:
        mine_part([Miner.exact(net)], dataset, part, [run], 3)
    spec, names = tiny.spec_of(net, dataset, 3), [part.name for part in parts]
    written: list[str] = []
    write_table = Store.write_table

    def full(store: Store, name: str, *arguments: object, **more: object) -> None:
        if name.startswith(schema.WINNERS):
            raise WriteError("no room")
        written.append(name)
        write_table(store, name, *arguments, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_table", full)
        with pytest.raises(WriteError):
            merge(run, spec, names)
    assert len(written) == 8  # heaps and statistics of two ranges of each layer
    assert list(run.list(schema.MERGING)) == [killed]  # it could be at work
    merge(run, spec, names)
    assert not run.list(schema.MERGING)


def test_a_store_that_shows_late_what_was_written_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 72 of the soak: what was merged was read at once, and the run not mined to its end."""
    looks, exists = [0], Store.exists

    def late(store: Store, name: str = "") -> bool:
        looks[0] += name == schema.FEATURE_MAPS
        return exists(store, name) and looks[0] >= 3

    monkeypatch.setattr(merge_module, "_PAUSE", 0.01)
    monkeypatch.setattr(Store, "exists", late)
    mined(folder, [COUNT], 2)
    assert looks == [3]


def test_sorting_now_and_then_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = mined(folder, [5] * 8, 2)
    monkeypatch.setattr(ranking, "_MOST_WAITING", 1)
    often = mined(folder, [5] * 8, 2)
    for name in usual.list(schema.WINNERS):
        assert usual.read(name) == often.read(name)


def test_statistics_equal_numpys(folder: Path) -> None:
    table = mined(folder, [8, 1, 31], 3).read_table(schema.FEATURE_MAPS)
    everything = tiny.Everything.of(tiny.module(), COUNT)
    used = [number for number in range(COUNT) if number not in BROKEN]
    rows = table.to_pylist()
    assert len(rows) == 7
    for row in rows:
        maps = everything.maps[row["layer"]][used, row["feature_map"]].astype(np.float64)
        peaks = maps.reshape(len(used), -1).max(1)
        assert (row["images"], row["active"]) == (len(used), (peaks > 0).sum())
        assert row["max"] == peaks.max()
        assert row["mean"] == pytest.approx(peaks.mean(), rel=1e-12)
        assert row["std"] == pytest.approx(peaks.std(), rel=1e-9, abs=1e-9)


def test_boxes_are_the_receptive_fields_in_the_input_and_in_the_picture(folder: Path) -> None:
    run = mined(folder, [COUNT], 5)
    # padding 1 and 3 pixels; then a pool 3/2 and 3 positions: 9 pixels, stride 2
    for layer, size, stride, start in (("first", 3, 1, -1), ("second", 9, 2, -1)):
        rows = run.read_table(schema.winners_name(layer)).to_pylist()
        assert rows
        for row in rows:
            top, left = row["y"] * stride + start, row["x"] * stride + start
            expected = [top, left, top + size, left + size]
            expected = [min(max(edge, 0), tiny.SIDE) for edge in expected]
            sides = ("top", "left", "bottom", "right")
            assert [row[side] for side in sides] == expected
            assert [row[f"source_{side}"] for side in sides] == expected  # nothing was resized


def test_where_nothing_fires_there_are_no_winners_but_statistics(tmp_path: Path) -> None:
    folder = tmp_path / "black"
    folder.mkdir()
    black = np.zeros((tiny.SIDE, tiny.SIDE, 3), np.uint8)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(tiny.png(black))
    run = mined(folder, [2, 1], 4)
    for layer in ("first", "second"):
        table = run.read_table(schema.winners_name(layer))
        assert len(table) == 0
        assert table.schema.equals(schema.WINNER)
    statistics = run.read_table(schema.FEATURE_MAPS)
    assert statistics["images"].to_pylist() == [3] * 7
    assert statistics["active"].to_pylist() == [0] * 7
    assert statistics["max"].to_pylist()[-1] == -1  # its bias


def test_a_dataset_without_a_usable_picture_is_refused(tmp_path: Path) -> None:
    tiny.write(tmp_path / "broken", 4, broken=(0, 1, 2, 3))
    with pytest.raises(RequestError, match=r"^No image of .* could be used, the first one because"):
        mined(tmp_path / "broken", [1, 3], 4)
