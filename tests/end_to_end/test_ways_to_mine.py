"""Reduced precision and several nets in one pass, by the command line on a real cluster."""

from pathlib import Path

import pandas as pd
import pytest
from ray.cluster_utils import Cluster

from pipeline.data.demo.images import draw
from tests.data.without_ray import in_this_process, screened_anyhow
from tests.end_to_end.runs import TOP_K, Run, assert_same, command
from tests.end_to_end.test_faults import meanwhile, strike

PHOTOS = Path(__file__).parents[2].parent / "shared" / "photos"


def assert_same_winners(run: Run, other: Run) -> None:
    """And what is certain about the feature maps is the same."""
    pd.testing.assert_frame_equal(run.winners(), other.winners(), check_exact=True)
    near, true = run.feature_maps(), other.feature_maps()
    assert near["certified"].mean() > 0.9
    alive = true["max"] > 0
    pd.testing.assert_series_equal(near["max"][alive], true["max"][alive], check_exact=True)
    pd.testing.assert_series_equal(near["images"], true["images"])


def test_reduced_precision_has_the_same_winners(
    undisturbed: Run, tars: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    command(*run.mining(tars, "--workers", 2, "--precision", "fast"))
    assert_same_winners(run, undisturbed)
    assert f"150 images mined: {len(run.winners())} winners" in capsys.readouterr().out
    assert len(run.objects("screen")) == 5
    before = run.identities("")
    command(*run.mining(tars, "--precision", "fast"))
    assert run.identities("") == before
    command(*run.mining(tars), code=2)
    assert "its precision is fast, not exact" in capsys.readouterr().err
    command(*run.projecting("--layers", "conv1", "--workers", 2))
    assert len(run.projections()) == (run.winners()["layer"] == "conv1").sum()


def test_on_photos(cluster: Cluster, tmp_path: Path) -> None:
    """Photos are unlike what the net was trained on."""
    if not PHOTOS.is_dir():
        pytest.skip("no photos beside this checkout (shared/photos)")
    exact, fast = Run(str(tmp_path / "exact")), Run(str(tmp_path / "fast"))
    for run, precision in ((exact, "exact"), (fast, "fast")):
        command(
            "mine", PHOTOS, "--run", run.url, "--net", "demo", "--format", "folder", "--top-k",
            TOP_K, "--precision", precision, "--workers", 2,
        )  # fmt: skip
    assert len(exact.winners()) > 900
    assert_same_winners(fast, exact)


def test_workers_killed_while_looking_again(
    undisturbed: Run, tars: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with meanwhile(lambda: strike("rescore"), run, "screen"):
        command(*run.mining(tars, "--workers", 2, "--precision", "fast"))
    assert "its worker was lost" in caplog.text
    assert_same_winners(run, undisturbed)


# --- in one process ---------------------------------------------------------------------------


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)
    monkeypatch.setattr("pipeline.cluster.on_ray.connection.connected", None)


@pytest.mark.usefixtures("no_ray")
def test_threads_of_one_process_find_the_same(undisturbed: Run, tars: Path, run: Run) -> None:
    run.make(tars)
    command("publish", "--run", run.url)
    assert_same(run, undisturbed)
    atlas, other = (files(Path(each.url) / "atlas") for each in (run, undisturbed))
    assert atlas == other


@pytest.mark.usefixtures("no_ray")
def test_threads_in_reduced_precision(undisturbed: Run, tars: Path, run: Run) -> None:
    command(*run.mining(tars, "--precision", "fast"))
    assert_same_winners(run, undisturbed)


# --- several nets -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some pictures and one that is none."""
    folder = tmp_path_factory.mktemp("few")
    for index in range(20):
        draw(index).image.save(folder / f"{index:02}.jpg")
    (folder / "05a.jpg").write_text("no picture")
    return folder


def files(run: Path) -> dict[str, bytes]:
    """All files of a run, but what it took."""
    paths = sorted(p for p in run.rglob("*") if p.is_file() and p.parent.name != "progress")
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def alone(cluster: Cluster, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each net in a run of its own."""
    place = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        screened_anyhow(patch)  # as the tests do, which compare theirs with it
        for net, weights in (("demo", "random:3"), ("squeezenet1_1", "random:4")):
            command(
                "mine", few, "--run", place / net, "--net", net, "--weights", weights,
                "--top-k", 2, "--workers", 1,
            )  # fmt: skip
    return place


def test_several_nets_are_as_if_each_were_alone(
    alone: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(
        "mine", few, "--run", tmp_path / "run", "--top-k", 2, "--net", "demo", "--net",
        "squeezenet1_1", "--weights", "random:3", "--weights", "random:4",
    )  # fmt: skip
    said = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"demo", "squeezenet1_1"}
    for net in ("demo", "squeezenet1_1"):
        assert files(tmp_path / "run" / net) == files(alone / net)
        assert f"{net}, 20 images mined" in said
        assert f"--run {tmp_path}/run/{net}" in said


def test_several_nets_by_a_file(alone: Path, few: Path, tmp_path: Path) -> None:
    config = tmp_path / "job.toml"
    config.write_text(
        f'data = "{few}"\nrun = "{tmp_path}/run"\ntop_k = 2\n'
        '[mine]\nnet = ["demo", "squeezenet1_1"]\nweights = ["random:3", "random:4"]\n'
    )
    command("mine", "--config", config)
    for net in ("demo", "squeezenet1_1"):
        assert files(tmp_path / "run" / net) == files(alone / net)
