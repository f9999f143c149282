"""A run in a notebook."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import open_run
from pipeline.data.decoding import decode
from pipeline.data.demo.images import draw
from pipeline.errors import RequestError
from tests.end_to_end.runs import TOP_K, Run


def test_tables(undisturbed: Run) -> None:
    run = open_run(undisturbed.url)
    assert run.layers == ["conv1", "conv3", "conv5"]
    assert len(run.feature_maps()) == 32 + 96 + 64
    assert len(run.winners()) == len(undisturbed.winners())
    of_map = run.winners("conv5", 3)
    assert of_map["rank"].tolist() == list(range(1, TOP_K + 1))
    assert (of_map["layer"] == "conv5").all()
    assert len(run.winners("conv5")) == (undisturbed.winners()["layer"] == "conv5").sum()
    assert run.projections("conv5", 3)["key"].tolist() == of_map["key"].tolist()
    assert run.skipped().empty
    assert "demo" in repr(run)


def test_pictures(undisturbed: Run) -> None:
    run = open_run(Path(undisturbed.url))
    sheet = run.sheet("conv5", 3)
    projection = run.projection("conv5", 3, rank=2)
    row = run.winners("conv5", 3).iloc[1]
    assert projection.size == (row["right"] - row["left"], row["bottom"] - row["top"])
    assert sheet.width > projection.width


def test_a_picture_of_ones_own(undisturbed: Run, tmp_path: Path) -> None:
    run = open_run(undisturbed.url)
    picture = draw(1000).image
    mine = run.project(picture, "conv5")
    crop = run.spec.preprocessing.crop
    assert mine.size == (crop, crop)
    assert np.asarray(mine).std() > 1
    picture.save(tmp_path / "mine.png")
    again = run.project(tmp_path / "mine.png", "conv5")
    assert np.array_equal(np.asarray(mine), np.asarray(again))
    assert not np.array_equal(mine, run.project(picture, "conv5", 3))


def test_a_picture_is_asked_about(undisturbed: Run, tmp_path: Path) -> None:
    run = open_run(undisturbed.url)
    picture = draw(1000).image
    rows = run.ask(picture)
    assert rows.groupby("layer")["feature_map"].nunique().to_dict() == dict.fromkeys(run.layers, 3)
    assert rows["stronger_than"].between(0, 1).all()
    first = rows[(rows["layer"] == "conv5") & (rows["rank"] == 1)].iloc[0]
    mine = run.project(picture, "conv5")  # of the strongest map too
    box = [int(first[side]) for side in ("left", "top", "right", "bottom")]
    with Image.open(io.BytesIO(first["projection"])) as shown:
        assert np.array_equal(np.asarray(shown), np.asarray(mine.crop(box)))
    winner = draw(int(run.winners("conv5", 3).iloc[0]["sample"])).image
    stream = io.BytesIO()
    winner.save(stream, "JPEG", quality=92)  # as it is in the shard
    (tmp_path / "winner.jpg").write_bytes(stream.getvalue())
    asked = run.ask(tmp_path / "winner.jpg", maps=64)
    own = asked[(asked["layer"] == "conv5") & (asked["feature_map"] == 3)].iloc[0]
    assert own["stronger_than"] > 0.97


def test_a_winner_projected_anew_is_the_projection(undisturbed: Run, tars: Path) -> None:
    run = open_run(undisturbed.url)
    row = run.winners("conv5", 3).iloc[0]
    with Path(row["shard"]).open("rb") as shard:
        shard.seek(int(row["offset"]))
        data = shard.read(int(row["length"]))
    picture = Image.fromarray(decode(data).permute(1, 2, 0).numpy())
    whole = run.project(picture, "conv5", 3)
    box = whole.crop(tuple(int(row[side]) for side in ("left", "top", "right", "bottom")))
    stored = np.asarray(run.projection("conv5", 3)).astype(float)
    # the contrast of the whole picture differs by its percentile; the pattern does not
    assert np.corrcoef(np.asarray(box).ravel(), stored.ravel())[0, 1] > 0.98


def test_errors(undisturbed: Run, tmp_path: Path) -> None:
    run = open_run(undisturbed.url)
    with pytest.raises(RequestError, match="no run at"):
        open_run(tmp_path)
    with pytest.raises(RequestError, match="it has conv1, conv3, conv5"):
        run.winners("conv2")
    for call in (run.winners, run.projections, run.sheet, run.projection):
        with pytest.raises(RequestError, match="0 to 63, not 64"):
            call("conv5", 64)
    with pytest.raises(RequestError, match="no rank 99"):
        run.projection("conv5", 3, rank=99)
    with pytest.raises(RequestError, match="0 to 63, not -1"):
        run.project(Image.new("RGB", (50, 50)), "conv5", -1)
    with pytest.raises(RequestError, match="no picture"):
        run.project(tmp_path / "nothing.jpg", "conv5")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(RequestError, match="not a JPEG"):
        run.project(tmp_path / "text.jpg", "conv5")
    with pytest.raises(RequestError, match="cannot be read"):
        run.project(tmp_path, "conv5")
