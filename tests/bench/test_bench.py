"""The benchmark tells what it should; how fast anything is, no test knows."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.bench import made_up, run
from pipeline.bench.order import Order, samples_of
from pipeline.bench.printer import Column, Finding, Row, figure_data, shown
from pipeline.bench.runner import CPU, RATE, at_once, measured, quickest, rounds
from pipeline.bench.sections import (
    driver,
    memory,
    merging,
    mining,
    precision,
    scale,
    start,
    workers,
)
from pipeline.cli.app import run_app
from pipeline.data.demo.images import draw
from pipeline.data.store import Store
from pipeline.errors import RequestError


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, and something that is none."""
    folder = tmp_path_factory.mktemp("photographs")
    for index in range(3):
        draw(index, size=(200, 150)).image.save(folder / f"{index}.jpg")
    (folder / "1a.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The process is left as it was."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


# --- figures ----------------------------------------------------------------------------------


def test_a_cell_is_the_median_and_how_far_the_repeats_are_apart() -> None:
    assert shown(np.array([2.0, 9.0, 40.0]) / np.array([1.0, 3.0, 10.0]), Column("")) == "3.0 ±33%"
    assert shown(np.array([2.0]), Column("", 2)) == "2.00"
    assert shown(np.array([0.0, 0.0]), Column("", 0)) == "0 ±0%"
    assert shown(np.array([0.002]), Column("ms", scale=1000)) == "2.0"
    assert (shown(6.5, Column("", 2)), shown("27/7", Column("")), shown("", Column(""))) == (
        "6.50", "27/7", "",
    )  # fmt: skip


def test_the_bound_of_two_who_share_a_core() -> None:
    net, decoding = (
        {RATE: np.array(rates), CPU: np.array([3.0, 4.0])}
        for rates in ([100.0, 10.0], [100.0, 40.0])
    )
    limit = mining.bound(net, decoding)
    assert limit[RATE] == pytest.approx([50.0, 8.0])
    assert limit[CPU] == pytest.approx([6.0, 8.0])


def test_a_finding_in_both_ways() -> None:
    columns = {"rate": Column("images/s"), "ratio": Column("ratio", 2)}
    rows = {"this": {"rate": np.array([1.0, 2.0])}, "that": {"ratio": np.array([3.0, 3.0])}}
    finding = Finding("Title", columns, rows, {"net": "demo"}, ("A note.",))
    data = json.loads(json.dumps(finding.data(), default=figure_data))
    assert data["net"] == "demo"
    assert data["rows"]["this"]["rate"] == {
        "median": 1.5, "smallest": 1.0, "largest": 2.0, "repeats": [1.0, 2.0],
    }  # fmt: skip
    assert list(data["rows"]["that"]) == ["ratio"]
    table = finding.table()
    assert table.row_count == 2
    assert str(table.caption).splitlines()[0] == "A note."
    assert str(table.caption).splitlines()[1].startswith("Medians of 2 repeats")
    assert [list(column.cells) for column in table.columns] == [
        ["this", "that"], ["1.5 ±33%", ""], ["", "3.00 ±0%"],
    ]  # fmt: skip


# --- rounds -----------------------------------------------------------------------------------


def test_rivals_take_turns_and_the_first_round_does_not_count() -> None:
    called: list[str] = []

    def rival(name: str) -> dict[str, float]:
        called.append(name)
        return {"calls": float(len(called))}

    rivals = {name: partial(rival, name) for name in ("this", "that")}
    measured = rounds(rivals, 2, "testing")
    assert called == ["this", "that"] * 3
    assert measured["this"]["calls"].tolist() == [3.0, 5.0]
    assert measured["that"]["calls"].tolist() == [4.0, 6.0]


def test_of_a_work_its_speed_is_measured() -> None:
    def work() -> int:
        time.sleep(0.01)
        return 5

    speed = measured(work)
    assert set(speed) == {RATE, CPU}
    assert 0 < speed[RATE] <= 500


def test_the_quickest_needs_least_time_for_an_image() -> None:
    def work(images: int) -> int:
        sum(range(100_000))
        return images

    assert quickest({"few": partial(work, 1), "many": partial(work, 100)}) == "many"


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(BrokenProcessPool):
        at_once([partial(os._exit, 3)])


# --- fixed and marginal cost ------------------------------------------------------------------


def parts(start: float, seconds: float, count: int) -> list[mining.Done]:
    """What a worker did that began after `start`: parts of 10 images and 1 CPU second each."""
    return [(start + seconds * (at + 1), 10, 1.0) for at in range(count)]


def test_the_course_of_one_worker() -> None:
    course = workers.course(0.0, parts(start=5.0, seconds=2.0, count=8))
    assert course == pytest.approx({"start_seconds": 5.0, RATE: 5.0, CPU: 100.0})


def test_the_course_of_two_workers_one_of_whom_comes_later() -> None:
    both = parts(5.0, 2.0, 4) + parts(6.0, 2.0, 4)
    course = workers.course(0.0, both[::-1])
    assert course == pytest.approx({"start_seconds": 6.0, RATE: 10.0, CPU: 100.0})


def test_the_start_counts_from_the_call() -> None:
    assert workers.course(3.0, parts(5.0, 2.0, 8))["start_seconds"] == pytest.approx(2.0)


# --- what is measured on ----------------------------------------------------------------------


def test_pictures_come_again_and_what_is_none_is_left_out(
    photographs: Path, tmp_path: Path
) -> None:
    order = Order("demo", 1, True, str(photographs), tmp_path)
    assert len(order.pictures()) == 3
    dataset = order.shards(2, 5)
    assert [len(list(dataset.read(part))) for part in dataset.parts()] == [5, 5]
    once = [(photographs / f"{index}.jpg").read_bytes() for index in range(3)]
    assert [sample.data for sample in samples_of(dataset)] == (once * 4)[:10]


def test_pictures_are_drawn_where_none_are_given(tmp_path: Path) -> None:
    order = Order("demo", 1, True, None, tmp_path)
    drawn = order.pictures()
    assert len(drawn) == len(set(drawn)) == 64
    assert Image.open(BytesIO(drawn[0])).size == (500, 375)


def test_a_net_is_measured_on_whole_batches_in_two_equal_parts(
    photographs: Path, tmp_path: Path
) -> None:
    order = Order("demo", 1, True, str(photographs), tmp_path)
    assert order.images % (2 * 32) == 0
    parts = order.dataset.parts()
    assert [len(list(order.dataset.read(part))) for part in parts] == [order.images // 2] * 2


# --- the report -------------------------------------------------------------------------------


def report(photographs: Path, place: Path, section: str) -> list[dict[str, Any]]:
    """What a section of the short form tells of the demo's net."""
    file = place / "bench.json"
    tables = list(run.bench(str(photographs), ["demo"], [section], 1, True, file))
    told = json.loads(file.read_text())
    assert told["about"]["short"]
    found: list[dict[str, Any]] = told["sections"][section]
    assert len(tables) == len(found)
    return found


def test_mining(photographs: Path, tmp_path: Path) -> None:
    (found,) = report(photographs, tmp_path, "mining")
    rows = found["rows"]
    assert list(rows) == [
        "mining", "bound of both", "the net alone", "decoding alone", "loop by hand",
    ]  # fmt: skip
    net, decoding, limit, mined = (
        rows[name]["images_per_second"]["median"]
        for name in ("the net alone", "decoding alone", "bound of both", "mining")
    )
    assert limit == pytest.approx(1 / (1 / net + 1 / decoding))
    assert rows["bound of both"]["mining_against_it"]["median"] == pytest.approx(mined / limit)
    assert all(row["cpu_ms_per_image"]["median"] > 0 for row in rows.values())
    assert set(found["fastest"]) == {"batch", "channels_last", "threads"}


def test_start(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_COUNTS", {True: (12,)})
    assert report(photographs, tmp_path, "start") == []  # of other nets
    (table,) = run.bench(str(photographs), ["alexnet"], ["start"], 1, True)
    assert table.row_count == 3


def test_heaps(photographs: Path, tmp_path: Path) -> None:
    (found,) = report(photographs, tmp_path, "heaps")
    assert list(found["rows"]) == [
        "all 5 layers, k = 9",
        "all 5 layers, k = 1000",
        "the deepest, conv5, k = 9",
        "the first, conv1, k = 9",
    ]


def test_memory(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_TIMES", {True: (1, 2)})
    (found,) = report(photographs, tmp_path, "memory")
    assert list(found["rows"]) == ["128 images", "256 images"]
    ratio = found["rows"]["256 images"]["against_fewest"]["median"]
    assert 0.5 < ratio < 2


@pytest.mark.parametrize(
    ("section", "names", "slow", "fast", "more"),
    [
        ("projection", ["conv2", "conv5"], "full", "windows", {"single", "layer", "batch"}),
        ("occlusion", ["demo"], "full", "incremental", {"occluder"}),
    ],
)
def test_projection_and_occlusion(
    photographs: Path,
    tmp_path: Path,
    section: str,
    names: list[str],
    slow: str,
    fast: str,
    more: set[str],
) -> None:
    (found,) = report(photographs, tmp_path, section)
    assert found["net"] == "demo"
    assert list(found["rows"]) == names
    for row in found["rows"].values():
        assert {slow, fast, "ratio", "limit", "share", *more} <= set(row)
        ratio = row["ratio"]["median"]
        assert ratio == pytest.approx(row[slow]["median"] / row[fast]["median"])
        assert row["share"] == pytest.approx(ratio / row["limit"])


def test_precision(photographs: Path, tmp_path: Path) -> None:
    speeds, looks = report(photographs, tmp_path, "precision")
    screening, exact = (speeds["rows"][name] for name in ("screening", "exact"))
    ratio = screening[RATE]["median"] / exact[RATE]["median"]
    assert screening["against_exact"]["median"] == pytest.approx(ratio)
    assert "against_exact" not in exact
    assert looks["title"] == "Looking again, demo: 3 images"
    assert looks["rows"] == {}


def test_what_is_looked_at_again() -> None:
    random = np.random.default_rng(0)
    exact = random.random((6, 200), np.float32)
    near = exact + random.normal(0, 1e-4, exact.shape).astype(np.float32)
    looks = precision._looks(near, exact, np.array([0.5, 0.5]))
    assert list(looks) == ["4 images per winner", "16 images per winner"]
    row = looks["16 images per winner"]
    assert row["certified"].tolist() == [1.0, 1.0]
    assert (row["looked_at_again"] >= 9 / 200).all()
    assert row["in_all"] == pytest.approx(1 / (0.5 + row["looked_at_again"]))


def test_workers(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 1)
    (found,) = report(photographs, tmp_path, "workers")
    assert list(found["rows"]) == ["1 plain process", "1 Ray worker", "bound of 1 process"]
    for row in ("1 plain process", "1 Ray worker"):
        assert found["rows"][row]["start_seconds"]["median"] > 0
        assert found["rows"][row][CPU]["median"] > 0
    assert "against_plain" in found["rows"]["1 Ray worker"]


def test_merging(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_PARTS", {True: 5})
    monkeypatch.setattr(made_up, "_DIFFERENT", 2)
    monkeypatch.setattr(made_up, "IMAGES", 30)
    (found,) = report(photographs, tmp_path, "merging")
    row = found["rows"]["k = 9"]
    assert row["share"] > 0
    assert row["peak"] >= row["before"] > 100
    assert (found["parts"], found["maps"]) == (5, 352)


def test_a_driver(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "cores", lambda: 1)
    monkeypatch.setattr(driver, "_PARTS", {True: 20})
    (found,) = report(photographs, tmp_path, "driver")
    (row,) = found["rows"].values()
    assert row["parts"] == 20
    assert row["rate"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_its_section_is_refused_and_else_left_out() -> None:
    with pytest.raises(RequestError, match="needs a GPU"):
        list(run.bench(sections=["gpu"], nets=["demo"], short=True))
    assert run._all_but_for_a_gpu_that_is_not_here() == tuple(n for n in run.SECTIONS if n != "gpu")


def test_a_run_at_scale(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "_PARTS", {True: (600,)})
    (found,) = report(photographs, tmp_path, "scale")
    prepared, listing, mining, merging = found["rows"].values()
    assert 0 < mining["share"] <= 1
    assert 0 < prepared["peak"] <= listing["peak"] <= mining["peak"] <= merging["peak"]


def same(names: list[str], rate: float, cpu: float) -> dict[tuple[str, int], Row]:
    """The same for one and for two, who are twice as fast."""
    return {
        (name, count): {RATE: np.array([rate * count] * 2), CPU: np.array([cpu] * 2)}
        for name in names
        for count in (1, 2)
    }


def test_two_workers_against_one() -> None:
    rows = workers._rows(
        same(["plain", "Ray"], 10.0, 100.0) | same(["net", "decoding"], 20.0, 50.0)
    )
    assert list(rows)[3:] == ["2 plain processes", "2 Ray workers", "bound of 2 processes"]
    assert rows["2 Ray workers"]["against_one"].tolist() == [2, 2]
    assert rows["2 Ray workers"]["of_bound"].tolist() == [1, 1]
    assert rows["2 plain processes"]["of_bound_cpu"].tolist() == [1, 1]
    assert "against_one" not in rows["1 plain process"]


def test_where_processor_time_cannot_be_told() -> None:
    rows = workers._rows(same(["plain", "net", "decoding"], 10.0, 100.0) | same(["Ray"], 10.0, 0.0))
    assert CPU in rows["1 plain process"]
    assert not {CPU, "of_bound_cpu"} & set(rows["1 Ray worker"])


# --- wrong requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--section", "memory,speed"], "No section 'speed'; there are mining, start, workers"),
        (["--net", "alexnet", "--net", "alexnot"], "No net 'alexnot'"),
        (["--json", "no/such/folder.json"], "no/such/folder.json cannot be written"),
    ],
)
def test_a_wrong_request_is_told_at_once(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["bench", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_data_without_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert run_app(["bench", str(tmp_path), "--net", "demo", "--section", "heaps"]) == 2
    assert "holds no picture that can be decoded" in capsys.readouterr().err
    assert Store(tmp_path).list() == {"a.jpg": 10}
