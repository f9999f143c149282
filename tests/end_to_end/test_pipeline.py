"""All stages on a cluster of two nodes, and what they leave behind, column by column."""

import logging
import re
from email.message import Message
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.field import ReceptiveField
from pipeline.data.store import Store
from pipeline.run import open_run
from tests.atlas.reading import named
from tests.end_to_end.runs import TOP_K, Run, assert_same, command

WINNERS = {
    "feature_map": "int32",
    "rank": "int16",
    "activation": "float",
    "before_rectification": "float",
    "y": "int16",
    "x": "int16",
    "shard": "string",
    "key": "string",
    "offset": "int64",
    "length": "int64",
    "sample": "int64",
    "label": "int32",
    "class_name": "string",
    "top": "int16",
    "left": "int16",
    "bottom": "int16",
    "right": "int16",
    "source_top": "float",
    "source_left": "float",
    "source_bottom": "float",
    "source_right": "float",
}
BOX = ["top", "left", "bottom", "right"]


STATISTICS = [
    *("images", "active", "max", "mean", "std"),
    *("q10", "q25", "q50", "q75", "q90", "q95", "q99", "q999"),
    *("selectivity", "class_entropy", "best_class", "best_class_name", "common_ancestor"),
]


def test_the_columns_are_those_of_the_contract(undisturbed: Run) -> None:
    (name, *_) = undisturbed.objects("winners/layer=conv3")
    schema = pq.read_schema(Path(undisturbed.url) / name)
    assert {field.name: str(field.type) for field in schema} == WINNERS
    (name, *_) = undisturbed.objects("projections/layer=conv3")
    projected = {
        field.name: str(field.type) for field in pq.read_schema(Path(undisturbed.url) / name)
    }
    binary = {"projection": "binary", "patch": "binary"}
    assert projected.items() >= (binary | {name: WINNERS[name] for name in BOX}).items()
    assert (
        projected.items()
        >= {
            name: WINNERS[name]
            for name in ("feature_map", "rank", "activation", "shard", "key", "sample")
        }.items()
    )
    maps = undisturbed.feature_maps()
    assert list(maps.columns) == ["layer", "feature_map", *STATISTICS, "certified"]
    assert (maps["images"] == 150).all()
    assert maps["certified"].all()
    for folder, columns in (
        ("examples", {**WINNERS, "quantile": "float"}),
        ("distributions", {"feature_map": "int32", "lower": "float", "upper": "float"}),
        ("classes", {"feature_map": "int32", "label": "int32", "mean": "double"}),
    ):
        (name,) = undisturbed.objects(f"{folder}/layer=conv3")
        found = pq.read_schema(Path(undisturbed.url) / name)
        assert {field.name: str(field.type) for field in found}.items() >= columns.items()
    examples = pd.read_parquet(f"{undisturbed.url}/examples")
    projected_too = pd.read_parquet(f"{undisturbed.url}/example_projections")
    assert len(projected_too) == len(examples) > 300
    assert set(examples["quantile"]) == {np.float32(share) for share in (0.99, 0.9, 0.5)}


def test_winners_are_ranked_by_activation_then_sample(undisturbed: Run) -> None:
    winners = undisturbed.winners()
    assert len(winners) > 500
    for _, of_map in winners.groupby(["layer", "feature_map"]):
        assert of_map["rank"].tolist() == list(range(1, len(of_map) + 1))
        order = list(zip(-of_map["activation"], of_map["sample"], strict=True))
        assert order == sorted(order)
        assert of_map["sample"].is_unique
    assert (winners["activation"] > 0).all()
    assert winners["rank"].max() == TOP_K


def test_dead_maps_have_no_rows_and_live_ones_all(undisturbed: Run) -> None:
    maps, winners = undisturbed.feature_maps(), undisturbed.winners()
    counts = winners.groupby(["layer", "feature_map"]).size()
    for row in maps.itertuples():
        assert counts.get((row.layer, row.feature_map), 0) == min(row.active, TOP_K)
    first = winners[winners["rank"] == 1].set_index(["layer", "feature_map"])["activation"]
    strongest = maps.set_index(["layer", "feature_map"])["max"]
    assert (first == strongest.loc[first.index].astype("float32")).all()


def test_a_winner_says_where_its_bytes_are(undisturbed: Run) -> None:
    for row in undisturbed.winners().sample(20, random_state=0).itertuples():
        with Path(row.shard).open("rb") as shard:
            shard.seek(row.offset)
            picture = Image.open(BytesIO(shard.read(row.length)))
        assert row.key == f"{row.sample:08d}.jpg"
        assert 0 <= row.source_left < row.source_right <= picture.width
        assert 0 <= row.source_top < row.source_bottom <= picture.height


def test_every_winner_is_projected_once_as_large_as_its_box(undisturbed: Run) -> None:
    winners, projections = undisturbed.winners(), undisturbed.projections()
    keys = ["layer", "feature_map", "rank", "y", "x", "shard", "key", "sample", *BOX]
    pd.testing.assert_frame_equal(winners[keys], projections[keys])
    np.testing.assert_allclose(projections["activation"], winners["activation"], rtol=1e-3)
    for row in projections.sample(20, random_state=0).itertuples():
        for data in (row.projection, row.patch):
            picture = Image.open(BytesIO(data))
            assert picture.size == (row.right - row.left, row.bottom - row.top)


def test_the_boxes_are_the_receptive_fields(undisturbed: Run) -> None:
    spec = open_run(undisturbed.url).spec
    winners = undisturbed.winners()
    for layer in spec.layers:
        rows = winners[winners["layer"] == layer.name]
        field: ReceptiveField = layer.receptive_field
        top = rows["y"] * field.stride[0] + field.start[0]
        left = rows["x"] * field.stride[1] + field.start[1]
        side = spec.preprocessing.crop
        assert (rows["top"] == top.clip(0)).all()
        assert (rows["left"] == left.clip(0)).all()
        assert (rows["bottom"] == (top + field.size[0]).clip(upper=side)).all()
        assert (rows["right"] == (left + field.size[1]).clip(upper=side)).all()


def test_one_worker_gives_the_same_as_two(undisturbed: Run, tars: Path, run: Run) -> None:
    run.make(tars, workers=1)
    assert_same(run, undisturbed)


def test_the_atlas_is_complete(undisturbed: Run) -> None:
    objects = undisturbed.objects("atlas")
    assert "atlas/index.html" in objects
    alive = undisturbed.winners()[["layer", "feature_map"]].drop_duplicates()
    sheets = [name for name in objects if name.endswith(".avif")]
    of_examples = sum("-examples." in name for name in sheets)
    assert len(sheets) - of_examples == len(alive) > 180
    assert 0 < of_examples <= len(alive)
    atlas = Store(f"{undisturbed.url}/atlas")
    assert {f"atlas/{name}" for name in named(atlas)} <= objects.keys()


def test_an_image_folder(
    cluster: object,
    pictures: Path,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    run.make(pictures, "--layers", "conv2,conv5", workers=1)
    winners = run.winners()
    assert set(winners["layer"]) == {"conv2", "conv5"}
    assert winners["offset"].isna().all()
    assert (winners["shard"] == str(pictures)).all()
    for row in winners.head(10).itertuples():
        assert (pictures / row.key).is_file()
        assert row.key.startswith(f"{row.class_name}/")
    assert len(run.projections()) == len(winners)
    assert "48 images mined" in capsys.readouterr().out
    assert re.search(r"mining, parts: (\d+) of \1 in", caplog.text)


def headers_of(store: Store, name: str) -> Message:
    """What a browser is told of an object."""
    with urlopen(store.fs.url(store.path(name))) as answer:
        headers: Message = answer.headers
        return headers


def test_everything_in_buckets(undisturbed: Run, tars: Path, bucket: str) -> None:
    store = Store(f"{bucket}/data")
    for path in sorted(tars.iterdir()):
        store.write(path.name, path.read_bytes())
    run = Run(f"{bucket}/run")
    run.make(f"{bucket}/data/demo-{{0000..0004}}.tar")
    for table in ("winners", "projections"):
        there, here = getattr(run, table)(), getattr(undisturbed, table)()
        pd.testing.assert_frame_equal(there.drop(columns="shard"), here.drop(columns="shard"))
    assert run.winners()["shard"].str.startswith(f"{bucket}/data/demo-").all()
    command("publish", "--run", run.url, f"{bucket}/atlas", "--workers", 2)
    pages = Store(f"{bucket}/atlas")
    atlas = {
        name.removeprefix("atlas/"): size for name, size in undisturbed.objects("atlas").items()
    }
    assert pages.list().keys() == atlas.keys()
    told = {name: headers_of(pages, name) for name in pages.list()}
    index, script, sheet = (
        next(of for name, of in told.items() if name.endswith(end))
        for end in ("index.html", ".js", ".avif")
    )
    assert index["Content-Type"].startswith("text/html")
    assert index["Cache-Control"] == "no-cache"
    assert script["Content-Type"].startswith("text/javascript")
    assert index["Content-Encoding"] == script["Content-Encoding"] == "gzip"
    assert sheet["Content-Type"] == "image/avif"
    assert sheet["Content-Encoding"] is None
    immutable = {name for name, of in told.items() if "immutable" in (of["Cache-Control"] or "")}
    assert {name for name in told if "/drawn-" in name} | immutable | {"index.html"} == set(told)
    command("show", run.url, "conv5")


def test_the_same_command_again_does_nothing(
    undisturbed: Run, tars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = undisturbed.identities("")
    command(*undisturbed.mining(tars, "--workers", 1))
    command(*undisturbed.projecting())
    assert undisturbed.identities("") == before
    assert "Nothing was missing." in capsys.readouterr().out
