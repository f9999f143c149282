"""The experiments, by the command line over a run on a real cluster."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.end_to_end.runs import Run, command


@pytest.fixture(scope="module")
def mined(undisturbed: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the run: what experiments leave in it is nobody else's business."""
    url = tmp_path_factory.mktemp("experiments") / "run"
    shutil.copytree(undisturbed.url, url)
    return Run(str(url))


def test_the_control_is_the_same_by_any_number_of_workers(mined: Run) -> None:
    asked = ["control", mined.url, "--maps", 5, "--rank-limit", 2, "--width", 183]
    command(*asked, "--workers", 2)
    likeness = pd.read_parquet(f"{mined.url}/control/likeness.parquet")
    redrawn = pd.read_parquet(f"{mined.url}/control/redrawn.parquet")
    figure = (Path(mined.url) / "control" / "figure.png").read_bytes()
    assert likeness.groupby("layer")["layers_drawn"].max().to_dict() == {
        "conv1": 1, "conv3": 2, "conv5": 3,
    }  # fmt: skip
    means = likeness.groupby(["layer", "layers_drawn"])["rank_correlation"].mean()
    assert means["conv5", 1] > 0.3 > means["conv5", 3]
    with Image.open(Path(mined.url) / "control" / "figure.png") as opened:
        assert opened.width == pytest.approx(183 * 12, abs=2)
    command(*asked, "--workers", 1)
    pd.testing.assert_frame_equal(
        pd.read_parquet(f"{mined.url}/control/likeness.parquet"), likeness
    )
    pd.testing.assert_frame_equal(pd.read_parquet(f"{mined.url}/control/redrawn.parquet"), redrawn)
    assert (Path(mined.url) / "control" / "figure.png").read_bytes() == figure
    command("publish", "--run", mined.url)
    (published,) = (Path(mined.url) / "atlas" / "figures").glob("control.*.webp")
    index = (Path(mined.url) / "atlas" / "index.html").read_text()
    assert f"figures/{published.name}" in index


def test_a_control_of_what_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("control", tmp_path / "nowhere", code=2)
    assert "nowhere" in capsys.readouterr().err
