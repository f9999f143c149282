"""The benchmark tells what it should; how fast anything is, no test knows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import bench, bench_memory, bench_order, bench_workers
from pipeline.bench.figures import Block, Column, Figure, bound, repeated
from pipeline.bench.workers import Course, Done, Size
from pipeline.cli.app import run_app
from pipeline.data.demo.images import draw
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store


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


def test_ratios_are_formed_within_a_repeat() -> None:
    ratio = Figure((2.0, 9.0, 40.0)) / Figure((1.0, 3.0, 10.0))
    assert ratio.values == (2.0, 3.0, 4.0)
    assert ratio.median == 3.0
    assert ratio.spread == pytest.approx(1 / 3)
    assert ratio.shown(1) == "3.0 ±33%"
    assert Figure((2.0,)).shown(2) == "2.00"
    assert Figure((0.0, 0.0)).spread == 0


def test_the_bound_of_two_who_share_a_core() -> None:
    assert bound(Figure((100.0, 10.0)), Figure((100.0, 40.0))).values == (50.0, 8.0)


def test_a_block_in_both_ways() -> None:
    columns = (Column("rate", "images/s"), Column("ratio", "ratio", 2))
    rows = {"one": {"rate": Figure((1.0, 2.0))}, "other": {"ratio": Figure((3.0, 3.0))}}
    finding = Block("Title", columns, rows, {"net": "demo"}, ("A note.",)).finding()
    assert finding.data["net"] == "demo"
    assert finding.data["rows"]["one"]["rate"]["repeats"] == [1.0, 2.0]
    assert list(finding.data["rows"]["other"]) == ["ratio"]
    assert finding.table.row_count == 2
    assert finding.table.caption == f"A note.\n{repeated(2)}"


# --- fixed and marginal cost ------------------------------------------------------------------


def parts(start: float, seconds: float, count: int) -> list[Done]:
    """What a worker did that began after `start`: parts of 10 images and 1 CPU second each."""
    return [Done(start + seconds * (at + 1), 10, 1.0) for at in range(count)]


def test_the_course_of_one_worker() -> None:
    course = Course.of(parts(start=5.0, seconds=2.0, count=8), first=20)
    assert (course.start, course.rate, course.cpu) == pytest.approx((5.0, 5.0, 100.0))


def test_the_course_of_two_workers_one_of_whom_comes_later() -> None:
    both = parts(5.0, 2.0, 4) + parts(6.0, 2.0, 4)
    course = Course.of(both[::-1], first=20)
    assert (course.start, course.rate, course.cpu) == pytest.approx((6.0, 10.0, 100.0))


# --- what is measured on ----------------------------------------------------------------------


def test_pictures_come_again_and_what_is_none_is_left_out(
    photographs: Path, tmp_path: Path
) -> None:
    order = bench_order.Order(("demo",), 1, True, str(photographs), tmp_path)
    assert len(order.pictures) == 3
    dataset = open_dataset(order.shards(2, 5))
    read = [[sample.data for sample in dataset.read(part)] for part in dataset.parts()]
    once = [(photographs / f"{index}.jpg").read_bytes() for index in range(3)]
    assert read[0] + read[1] == (once * 4)[:10]


def test_a_subject_is_whole_batches_in_two_equal_parts(photographs: Path, tmp_path: Path) -> None:
    order = bench_order.Order(("demo",), 1, True, str(photographs), tmp_path)
    subject = bench_order.subject(order, "demo")
    assert subject.images % (2 * bench_order.BATCH) == 0
    assert len(open_dataset(subject.data).parts()) == 2
    assert bench_order.subject(order, "demo") is subject


# --- the report -------------------------------------------------------------------------------


def report(photographs: Path, place: Path, section: str) -> list[dict[str, Any]]:
    """What a section of the short form tells of the demo's net."""
    file = place / "bench.json"
    tables = list(bench.bench(str(photographs), ["demo"], [section], 1, True, file))
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
    net, decoding, limit, mining = (
        rows[name]["images_per_second"]["median"]
        for name in ("the net alone", "decoding alone", "bound of both", "mining")
    )
    assert limit == pytest.approx(1 / (1 / net + 1 / decoding))
    assert rows["bound of both"]["mining_against_it"]["median"] == pytest.approx(mining / limit)
    assert all(row["cpu_ms_per_image"]["median"] > 0 for row in rows.values())
    assert set(found["fastest"]) == {"batch", "channels_last", "threads"}


def test_heaps(photographs: Path, tmp_path: Path) -> None:
    (found,) = report(photographs, tmp_path, "heaps")
    assert list(found["rows"]) == [
        "all 5 layers, k = 9",
        "all 5 layers, k = 1000",
        "the deepest, conv5, k = 9",
        "the first, conv1, k = 9",
    ]


def test_memory(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_memory, "_TIMES", {True: (1, 2)})
    (found,) = report(photographs, tmp_path, "memory")
    assert list(found["rows"]) == ["128 images", "256 images"]
    ratio = found["rows"]["256 images"]["against_fewest"]["median"]
    assert 0.5 < ratio < 2


def test_projection_and_occlusion(photographs: Path, tmp_path: Path) -> None:
    for section in ("projection", "occlusion"):
        (found,) = report(photographs, tmp_path, section)
        assert {one["net"] for one in found["figures"]} == {"demo"}


def test_workers(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_workers, "_cores", lambda: 1)
    monkeypatch.setattr(Size, "of", lambda order: Size(repeats=1, passes=2, alone=1))
    (found,) = report(photographs, tmp_path, "workers")
    assert list(found["rows"]) == ["1 plain process", "1 Ray worker", "bound of 1 process"]
    for row in ("1 plain process", "1 Ray worker"):
        assert found["rows"][row]["start_seconds"]["median"] > 0
        assert found["rows"][row]["cpu_ms_per_image"]["median"] > 0
    assert "against_plain" in found["rows"]["1 Ray worker"]


def test_two_workers_against_one() -> None:
    subject = bench_order.Subject("demo", 64, "data")
    courses = {
        count: {name: [Course(1.0, 10.0 * count, 100.0)] * 2 for name in ("plain", "Ray")}
        for count in (1, 2)
    }
    alone: dict[int, bench_workers.Alone] = {
        count: {"net": [(20.0 * count, 50.0)] * 2, "decoding": [(20.0 * count, 50.0)] * 2}
        for count in (1, 2)
    }
    finding = bench_workers._block(subject, Size(2, 4, 1), courses, alone, 3.0)
    rows = finding.data["rows"]
    assert rows["2 Ray workers"]["against_one"]["median"] == 2
    assert rows["2 Ray workers"]["of_bound"]["median"] == 1
    assert rows["2 plain processes"]["of_bound_cpu"]["median"] == 1
    assert "against_one" not in rows["1 plain process"]


# --- wrong requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--section", "memory,speed"], "No section 'speed'; there are mining, workers"),
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
