"""Reduced precision that would not pay: said in a line, mined exactly, with the same result."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.commands.mine import mine_run
from pipeline.commands.precision import why_exact
from pipeline.data.demo.images import shard_bytes
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.request import MineRequest
from pipeline.run import Run
from tests.data.without_ray import in_this_process, screened_anyhow

IMAGES, MAPS, TOP_K = 40, 5, 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.tar").write_bytes(shard_bytes(range(IMAGES)))
    return tmp_path


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Dataset:
    in_this_process(monkeypatch)
    monkeypatch.setattr(Dataset, "approximate_count", IMAGES)
    return open_dataset(str(folder / "data"))


def request(folder: Path, **more: object) -> MineRequest:
    usual = {"data": str(folder / "data"), "run": str(folder / "run"), "net": "demo"}
    usual |= {"layers": ["conv1", "conv5"], "top_k": TOP_K, "precision": "fast"}
    return MineRequest.model_validate(usual | more)


@pytest.mark.parametrize("integers", [True, False])
def test_it_pays_where_images_are_many_and_bytes_are_multiplied(
    integers: bool, folder: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.precision.has_integers", lambda: integers)
    few = why_exact(request(folder), dataset, MAPS + 1)
    assert few == "of about 40 images up to 24 winners leave few to pass over"
    why = why_exact(request(folder), dataset, MAPS)
    assert (why is None) == integers
    assert integers or "VNNI" in str(why)
    # of a cluster's workers nothing is known
    assert why_exact(request(folder, address="127.0.0.1:1"), dataset, MAPS) is None
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert why_exact(request(folder), dataset, MAPS) is None
    assert (why_exact(request(folder, gpus="none"), dataset, MAPS) is None) == integers


def test_a_run_goes_on_as_it_was_begun(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = request(folder)
    in_this_process(monkeypatch)
    screened = mine_run(asked)
    monkeypatch.undo()
    in_this_process(monkeypatch)
    monkeypatch.setattr("pipeline.commands.precision.why_exact", why_exact)
    caplog.set_level("INFO")
    assert mine_run(asked).spec.precision == "fast"  # as it is
    assert "Mined exactly" not in caplog.text
    other = request(folder, run=str(folder / "other"))
    exact = mine_run(other)
    assert "Mined exactly, with the same winners and sooner: of about " in caplog.text
    assert exact.spec.precision == "exact"
    assert not exact.store.list("screen")
    assert_same_winners(screened, exact)
    assert exact.feature_maps()["certified"].all()
    screened_anyhow(monkeypatch)
    exact.store.remove("feature_maps.parquet")
    assert mine_run(other).spec.precision == "exact"  # asked for as fast again


def assert_same_winners(run: Run, other: Run) -> None:
    one, two = (each.winners().reset_index(drop=True) for each in (run, other))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
