"""The experiments, by the command line over a run on a real cluster."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import open_run
from pipeline.atlas.poster.choice import example_pictures
from pipeline.cluster import session
from pipeline.commands.project import dataset_of
from pipeline.data.class_name_files import names_of_outputs
from pipeline.data.demo.images import CLASS_NAMES, draw, label_of
from pipeline.data.object_parts import Parted, as_csv, read_object_parts
from pipeline.data.stored.named import find_pictures
from pipeline.stages.experiments.correspondence import Hiding, distances, hide_unit
from pipeline.stages.experiments.invariance import invariance_unit
from tests.end_to_end.conftest import IMAGES
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


def test_correspondence_by_workers_is_that_of_one_process(
    mined: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = [n for n in range(IMAGES) if CLASS_NAMES[label_of(n)] == "faces"][:4]
    parted = [Parted(str(number), draw(number).parts) for number in faces]
    parts = tmp_path / "parts.csv"
    parts.write_bytes(as_csv(parted))
    asked = ["correspondence", mined.url, "--parts", parts, "--draws", 2, "--svg"]
    command(*asked, "--workers", 2)
    said = capsys.readouterr().out
    table = pd.read_parquet(f"{mined.url}/correspondence/distances.parquet")
    assert len(table) == 3 * (4 + 2) * 6
    mean = table[(table["layer"] == "conv5") & (table["part"] == "nose")]["distance"].mean()
    assert f"{mean:.3f} ±" in next(line for line in said.splitlines() if line.startswith("nose"))
    names = {name.rpartition("/")[2] for name in mined.objects("correspondence")}
    assert names == {"distances.parquet", "figure.png", "figure.pdf", "figure.svg"}

    run = open_run(mined.url)
    dataset = dataset_of(run)
    wanted = find_pictures([each.image for each in parted], run.store, dataset)
    rounded = read_object_parts(str(parts))
    hidings = [Hiding(w, each, 2, 0) for w, each in zip(wanted, rounded, strict=True)]
    here = distances(run.mined_net, hide_unit(run.mined_net, hidings, dataset)).to_pandas()
    keys = ["layer", "part", "draw", "image", "other_image"]
    both = table.merge(here, on=keys, suffixes=("", "_here"))
    assert len(both) == len(table)
    assert (both["distance"] - both["distance_here"]).abs().max() < 1e-3

    parts.write_text("image,part,top,left,bottom,right\n0,eye,1,2,5,4\n")
    command(*asked, code=2)
    assert "eye of one picture alone" in capsys.readouterr().err


def test_invariance_by_workers_is_that_of_one_process(mined: Run) -> None:
    command("invariance", mined.url, "--workers", 2)  # of winners of the top layer
    table = pd.read_parquet(f"{mined.url}/invariance/distances.parquet")
    assert table["image"].nunique() == 5
    assert set(table["layer"]) == {"conv1", "conv3", "conv5"}
    still = table[(table["transform"] == "translation") & (table["amount"] == 0)]
    assert (still["distance"] < 1e-3).all()
    far = table[table["transform"] == "translation"].groupby("layer")["relative"].max()
    assert far["conv1"] > 0.5
    assert table["probability"].between(0, 1).all()

    run = open_run(mined.url)
    wanted = example_pictures(run.store, run.spec.layers[-1], 5)
    names = names_of_outputs(run.spec.class_names, run.mined_net)
    here = invariance_unit(run.mined_net, wanted, dataset_of(run), names).to_pandas()
    assert here["image"].tolist() == table["image"].tolist()
    columns = ["amount", "relative", "probability"]
    np.testing.assert_allclose(here[columns], table[columns], atol=1e-4)


@pytest.fixture(scope="module")
def over_pictures(
    cluster: object, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The demo's net untrained and trained, and another net, over the same pictures."""
    folder = tmp_path_factory.mktemp("nets")
    nets = {
        "untrained": ["--net", "demo", "--weights", "random:0", "--layers", "conv1,conv3,conv5"],
        "trained": ["--net", "demo", "--layers", "conv1,conv3,conv5"],
        "other": ["--net", "squeezenet1_1", "--layers", "features.0,features.3.expand3x3"],
    }
    nets["other"] += ["--weights", "random:0"]
    urls = {name: str(folder / name) for name in nets}
    with session.connected():  # the same workers for all
        for name, net in nets.items():
            command("mine", pictures, "--run", urls[name], "--top-k", 5, *net)
            command("project", "--run", urls[name], "--rank-limit", 1)
    return urls


def test_checkpoints_are_compared_map_by_map(
    over_pictures: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [over_pictures[name] for name in ("untrained", "trained")]
    command("compare", *runs)
    said = capsys.readouterr().out
    table = pd.read_parquet(f"{runs[-1]}/compare/evolution.parquet")
    assert len(table) == 2 * (32 + 96 + 64)
    last = table[table["checkpoint"] == 2]
    assert (last["shared_with_last"].dropna() == 1).all()
    alive = last[last["active"] > 0]
    early = (alive[alive["layer"] == "conv1"]["became_itself"] == 1).mean()
    assert f"{100 * early:.0f} %" in next(
        line for line in said.splitlines() if line.startswith("conv1")
    )
    with Image.open(f"{runs[-1]}/compare/figure.png") as figure:
        assert figure.width == pytest.approx(297 * 12, abs=2)


def test_nets_are_compared_by_their_winners(
    over_pictures: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [over_pictures[name] for name in ("trained", "other")]
    command("compare", *runs, "--out", tmp_path / "both", "--width", 183)
    assert "trained" in capsys.readouterr().out
    spectra = pd.read_parquet(tmp_path / "both" / "spectra.parquet")
    assert spectra["run"].value_counts().to_dict() == {"trained": 3, "other": 2}
    matches = pd.read_parquet(tmp_path / "both" / "matches.parquet")
    assert matches["run"].value_counts().to_dict() == {"trained": 192, "other": 64 + 64}
    assert matches["jaccard"].dropna().between(1 / 9, 1).all()
    assert matches["class_correlation"].max() > 0.8
    assert {path.name for path in (tmp_path / "both").iterdir()} == {
        "spectra.parquet", "matches.parquet", "figure.png", "figure.pdf",
    }  # fmt: skip


def test_what_cannot_be_compared_is_a_sentence(
    over_pictures: dict[str, str], mined: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    command("compare", over_pictures["trained"], code=2)
    assert "give two runs or more" in capsys.readouterr().err
    command("compare", over_pictures["trained"], mined.url, code=2)
    assert "is not of the data" in capsys.readouterr().err


def test_a_control_of_what_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("control", tmp_path / "nowhere", code=2)
    assert "nowhere" in capsys.readouterr().err
