"""Explain, occlude and the poster, by the command line over a run on a real cluster."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.data.demo.images import draw
from pipeline.data.pictures import Wanted
from pipeline.stages import explain
from tests.end_to_end.runs import Run, command


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of one's own, that the run has not seen."""
    path = tmp_path / "own.png"
    draw(7, seed=3).image.save(path)
    return path


def test_explain_a_picture_of_ones_own_and_a_sample(undisturbed: Run, picture: Path) -> None:
    command("explain", picture, 4, "--run", undisturbed.url)
    table = pd.read_parquet([f"{undisturbed.url}/{name}" for name in _tables(undisturbed)])
    assert set(table["sample"].dropna()) == {4}
    own = table[table["image"] == str(picture)]
    assert own.groupby("layer")["rank"].max().to_dict() == {"conv1": 1, "conv3": 1, "conv5": 3}
    figures = [name for name in undisturbed.objects("explain") if name.endswith((".png", ".pdf"))]
    assert len(figures) == 2 * 2


def _tables(run: Run) -> list[str]:
    return [name for name in run.objects("explain") if name.endswith(".parquet")]


def test_occlude_agrees_with_its_tasks_elsewhere(undisturbed: Run, picture: Path) -> None:
    asked = [str(number) for number in range(5)]
    common = ["--run", undisturbed.url, "--occluder", 40, "--stride", 24]
    command("occlude", "--images", ",".join(asked), "--workers", 2, *common)
    tables = pd.read_parquet(f"{undisturbed.url}/occlusion/maps")
    assert sorted(tables["sample"].unique()) == list(range(5))
    assert (tables["correct_class"] == tables["label"]).all()
    whole = tables.loc[tables["sample"] == 2, ["top", "left", "probability", "total_activation"]]
    # a task of one picture runs right here: with the whole net, not what was sent to a worker
    again = [*common, "--colour", "#808080", "--images", "2"]
    command("occlude", *again)
    both = pd.read_parquet(f"{undisturbed.url}/occlusion/maps")
    here = both[(both["sample"] == 2) & (both["colour"] == "#808080")]
    # the mean of the demo's preprocessing is that grey, but for rounding
    np.testing.assert_allclose(here["probability"], whole["probability"], atol=0.02)
    before = undisturbed.identities("occlusion")
    command("occlude", *again)
    assert undisturbed.identities("occlusion") == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--occluder", 500], "500 pixels does not fit"),
        (["--stride", 0], "never moves"),
        (["--label", 99], "classes 0 to 15"),
        (["--layer", "conv9"], "no layer 'conv9'"),
        (["--colour", "pink"], "#rrggbb"),
        (["--images", "nowhere.jpg"], "nowhere.jpg"),
        (["--images", "1000"], "no sample 1000"),
    ],
)
def test_occlude_refuses(
    undisturbed: Run, arguments: list[object], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command("occlude", "--run", undisturbed.url, "--images", "0", *arguments, code=2)
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


def test_explain_refuses_what_is_no_picture(
    undisturbed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.jpg").write_text("Dear net,")
    command("explain", tmp_path / "letter.jpg", "--run", undisturbed.url, code=2)
    assert "letter.jpg cannot be used: not a JPEG" in capsys.readouterr().err


@pytest.mark.parametrize("units", [1, 2])
def test_explain_does_the_others(
    undisturbed: Run,
    units: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one unit of work here, and in several on the cluster."""
    monkeypatch.setattr(explain, "_IMAGES_AT_ONCE", 4 // units)
    names = [tmp_path / name for name in ("a.png", "torn.png", "letter.jpg", "b.png")]
    for seed, name in enumerate(names):
        draw(seed, seed=units).image.save(name, "PNG")
    names[1].write_bytes(names[1].read_bytes()[:200])
    names[2].write_text("Dear net,")
    command("explain", *names, "--run", undisturbed.url, code=2)
    printed = capsys.readouterr()
    said = printed.err.splitlines()[-1]
    assert "torn.png cannot be used: " in said
    assert "letter.jpg cannot be used: not a JPEG" in said
    assert said.endswith("; 2 others are done.")
    stored = undisturbed.objects("explain")
    told = [line.removeprefix(f"{undisturbed.url}/") for line in printed.out.splitlines()]
    assert len(told) == 2 * 3
    assert set(told) <= stored.keys()
    for name, there in zip(names, (True, False, False, True), strict=True):
        assert (f"explain/{Wanted(str(name)).file_stem}.parquet" in stored) is there


def test_poster(undisturbed: Run, tmp_path: Path) -> None:
    command(
        "poster", "--run", undisturbed.url, "--out", tmp_path / "p.pdf", "--maps", "conv5=3,7",
        "--stride", 24,
    )  # fmt: skip
    page = (tmp_path / "p.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", page)
    assert box is not None
    assert float(box[2]) / float(box[1]) == pytest.approx(1189 / 841, rel=1e-3)
    with Image.open(tmp_path / "p.png") as shown:
        assert shown.height > 3000


def test_poster_of_a_map_that_is_not_there(
    undisturbed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    command("poster", "--run", undisturbed.url, "--maps", "conv5=64", code=2)
    said = capsys.readouterr().err
    assert "feature maps 0 to 63, not 64" in said
    assert said.count("\n") == 1  # before any work
