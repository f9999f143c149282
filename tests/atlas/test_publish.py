import hashlib
import io
import os
import re
import uuid
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from pipeline import schema
from pipeline.atlas import publish
from pipeline.atlas.documents.names import drawn_name
from pipeline.atlas.outline import outline_of
from pipeline.atlas.prune import prune
from pipeline.atlas.publish import Appearance
from pipeline.atlas.unit import publish_unit
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block
from pipeline.data.stored.results import projection_blocks
from pipeline.data.weights.load import load_net
from pipeline.errors import IncompleteError, RequestError
from tests.atlas import reading, synthetic_run
from tests.killed import KilledError, kill_after

LAYERS = {"conv1": (8, 11, 4), "conv2": (132, 6, 8), "layer2.0": (4, 200, 16)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return synthetic_run.temporary(tmp_path_factory.mktemp("run"), layers=LAYERS, ranks=2)


@pytest.fixture(scope="module")
def atlas(run, tmp_path_factory):
    dest = Store(tmp_path_factory.mktemp("atlas"))
    done = published(run, dest)
    assert done.layers == tuple(LAYERS)
    assert (done.maps, done.dead, done.missing, done.unprojected) == (144, 1, 0, ())
    return dest


def published(run, dest, look=None):
    for unit in publish.units(run, dest, look):
        publish_unit(run, dest, unit)
    return publish.publish_pages(run, dest, look)


def assert_same(atlas, other):
    """What a visitor sees, and what another publishing goes by."""
    seen = reading.named(atlas)
    assert seen == reading.named(other)
    seen |= {name for name in atlas.list() if "/drawn-" in name}
    assert all(atlas.read(name) == other.read(name) for name in seen)


def picture(dest, name):
    with Image.open(io.BytesIO(dest.read(name))) as opened:
        return opened.convert("RGBA")


def test_all_that_is_named_is_there_and_nothing_else(run, atlas):
    there, named = set(atlas.list()), reading.named(atlas)
    records = {
        drawn_name(name, page)
        for name, (maps, *_) in LAYERS.items()
        for page in range(-(-maps // 64))
    }
    assert there == named | records
    assert publish.publish_pages(run, atlas).files == there
    root = reading.root(atlas)
    assert (root["images"], root["skipped"]) == (synthetic_run.IMAGES, 3)


def test_names_tell_content(atlas):
    for name in atlas.list():
        if "." in name.partition(".")[2] and "/layer2" not in name:
            digest = hashlib.sha256(atlas.read(name)).hexdigest()[:10]
            assert name.split(".")[-2] == digest


def test_sheets_and_sprites_are_as_large_as_is_said(atlas):
    for layer in reading.root(atlas)["layers"]:
        layout = layer["layout"]
        maps = reading.maps(atlas, layer["name"])
        side = layout["columns"] * (layout["cell"] + layout["gutter"]) - layout["gutter"]
        for kind in ("projections", "patches"):
            assert picture(atlas, maps["files"][kind][1]).width == side
        last = reading.layer(atlas, layer["name"])["pages"][-1]
        rows = -(-(layer["maps"] % 64) // 8)
        assert picture(atlas, last["patches-large"]).size == (8 * 128, rows * 128)
        assert picture(atlas, last["projections-small"]).size == (8 * 64, rows * 64)


def test_the_whole_picture_of_every_winner_once(run, atlas):
    folder = reading.root(atlas)["pictures"]
    stored = {int(name.split("/")[-1].removesuffix(".jpg")) for name in atlas.list(folder)}
    winners = pa.concat_tables([run.read_table(schema.winners_name(name)) for name in LAYERS])
    assert stored == set(winners["sample"].to_pylist())
    units = publish.units(run, Store(f"memory://{uuid.uuid4().hex}"))
    assert sum(len(unit.pictures) for unit in units) == len(stored)
    assert picture(atlas, f"{folder}/{min(stored)}.jpg").size == (224, 224)


def test_the_same_run_gives_the_same_bytes(run, atlas, tmp_path):
    bounds = [(unit.layer, unit.first, unit.last) for unit in publish.units(run, atlas)]
    assert bounds[1:4] == [("conv2", 0, 64), ("conv2", 64, 128), ("conv2", 128, 132)]
    again = Store(tmp_path)
    published(run, again)
    assert list(again.list()) == list(atlas.list())
    assert_same(again, atlas)


def test_without_patches_nothing_of_the_dataset_is_published(run, atlas, tmp_path):
    dest = Store(tmp_path)
    published(run, dest, look := Appearance(patches=False, credit="Nobody's"))
    root = reading.root(dest)
    assert root["kinds"] == ["projections"]
    assert not any(name.endswith(".jpg") and "preview" not in name for name in dest.list())
    assert not any("patches" in name for name in dest.list())
    drawn = set(reading.maps(dest, "conv1")["files"])
    assert drawn == {"projections", "example-projections"}
    assert ["The pictures", "Nobody's"] in root["about"]
    assert len(dest.list("layers")) < len(atlas.list("layers"))
    assert reading.named(dest) <= publish.publish_pages(run, dest, look).files


def test_figures_of_its_pictures_are_shown_with_them(run, atlas, tmp_path):
    run = copied(run, tmp_path / "run")
    sample = int(run.read_table(schema.winners_name("conv1"))["sample"][0].as_py())
    for name, number in (("here", sample), ("elsewhere", None)):
        table = pa.table({"sample": pa.array([number], pa.int64())})
        run.write_table(f"{schema.OCCLUSION_MAPS}/{name}.parquet", table)
        run.write(
            f"{schema.OCCLUSION_FIGURES}/{name}.png",
            synthetic_run.png(np.zeros((9, 2000, 3), "u1")),
        )
    run.write(f"{schema.EXPLAIN}/drawn-alone.png", b"no table tells whose it is")
    dest = Store(tmp_path / "atlas")
    published(run, dest)
    index = reading.said(dest, reading.root(dest)["files"]["pictures"])[2]
    told = {}
    for part in index["parts"]:
        told |= reading.said(dest, part)[2]["figures"]
    ((figure,),) = told.values()
    assert list(told) == [str(sample)]
    assert (figure["kind"], figure["width"], figure["height"]) == ("occluded", 1800, 8)
    assert picture(dest, figure["file"]).size == (1800, 8)
    hidden = Store(tmp_path / "hidden")
    published(run, hidden, Appearance(patches=False))
    assert not hidden.list("figures")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (f"{schema.OCCLUSION_MAPS}/a.parquet", "remove it and give .* occlude` command again"),
        (f"{schema.OCCLUSION_FIGURES}/a.png", "remove it and give .* occlude` command again"),
        (schema.PROJECTION_SETTINGS, "remove it and .*/projections, and give the same"),
    ],
)
def test_what_is_damaged_is_named(run, tmp_path, name, remedy):
    run, dest = copied(run, tmp_path / "run"), Store(tmp_path / "atlas")
    run.write_table(f"{schema.OCCLUSION_MAPS}/a.parquet", pa.table({"sample": pa.array([3])}))
    run.write(f"{schema.OCCLUSION_FIGURES}/a.png", synthetic_run.png(np.zeros((9, 9, 3), "u1")))
    published(run, dest)
    run.write(name, run.read(name)[:20])
    with pytest.raises(IncompleteError, match=rf"{re.escape(name)} is damaged.*; {remedy}"):
        published(run, dest)


def test_what_is_known_of_the_net_is_shown(run, atlas, tmp_path):
    net = load_net("demo").net
    outline = outline_of(net, {})
    assert outline.diagram == outline_of(net, {}).diagram
    assert ET.fromstring(outline.diagram).tag.endswith("svg")
    assert outline.outputs == {}
    as_outputs = replace(net, classes=net.graph.layers[-1].maps)
    names = {number: f"class {number}" for number in range(as_outputs.classes)}
    (named,) = outline_of(as_outputs, names).outputs.values()
    assert named == list(names.values())
    dest = copied(atlas, tmp_path)
    known = replace(outline, outputs={"conv1": list("abcdefgh")})
    publish.publish_pages(run, dest, outline=known)
    assert dest.read(reading.root(dest)["files"]["diagram"]) == outline.diagram
    assert reading.layer(dest, "conv1")["outputs"] == list("abcdefgh")
    assert reading.layer(dest, "conv2")["outputs"] == []


# --- publishing again -------------------------------------------------------------------------


def copied(store, path):
    copy = Store(path)
    for name in store.list():
        copy.write(name, store.read(name))
    return copy


def changed(run, path, maps):
    """The same run with other projections of some maps of conv2."""
    other = copied(run, path)
    for block in projection_blocks(other, "conv2"):
        rows = other.read_table(block.name).to_pylist()
        for row in rows:
            if row["feature_map"] in maps:
                row["key"], row["projection"] = "another", row["patch"]
        other.write_table(block.name, pa.Table.from_pylist(rows, schema.PROJECTION), 7)
    return other


def drawn_again(run, dest):
    return [publish_unit(run, dest, unit) for unit in publish.units(run, dest)]


def test_what_is_drawn_is_not_drawn_again(run, atlas, tmp_path, monkeypatch):
    dest = copied(atlas, tmp_path)
    monkeypatch.setattr(Store, "write", None)
    assert drawn_again(run, dest) == [0] * 5


def test_what_has_changed_is_drawn_again_beside_what_was(run, atlas, tmp_path):
    dest, other = copied(atlas, tmp_path / "atlas"), changed(run, tmp_path / "run", {3, 130})
    assert drawn_again(other, dest) == [0, 1, 0, 1, 0]
    publish.publish_pages(other, dest)
    fresh = Store(tmp_path / "fresh")
    published(other, fresh)
    assert_same(dest, fresh)
    sheets = [reading.maps(one, "conv2")["files"]["projections"] for one in (dest, atlas)]
    assert [n for n, (new, old) in enumerate(zip(*sheets, strict=True)) if new != old] == [3]
    assert reading.named(atlas) - {"index.html"} <= set(dest.list())  # for who is reading it now
    assert drawn_again(run, dest) == [0, 1, 0, 1, 0]
    publish.publish_pages(run, dest)
    assert_same(dest, atlas)


def test_pruning_leaves_what_is_new_or_needed_or_not_ours(run, atlas, tmp_path):
    dest, other = copied(atlas, tmp_path / "atlas"), changed(run, tmp_path / "run", {3, 130})
    dest.write("robots.txt", b"somebody else's")
    published(other, dest)
    used = publish.publish_pages(other, dest).files
    assert prune(dest, used) == 0  # all is younger than an hour
    for name in dest.list():
        os.utime(dest.path(name), (0, 0))
    assert prune(dest, used) > 4
    assert set(dest.list()) == used | {"robots.txt"}
    fresh = Store(tmp_path / "fresh")
    published(other, fresh)
    assert_same(dest, fresh)


@pytest.mark.parametrize("kind", ["conv2/12.", "conv2/patches-small-0.", "conv2/drawn-0.json"])
def test_what_is_gone_or_damaged_is_made_anew(run, atlas, tmp_path, kind):
    dest = copied(atlas, tmp_path)
    dest.remove(next(name for name in dest.list() if name.startswith(f"layers/{kind}")))
    drawn_again(run, dest)
    assert_same(dest, atlas)
    dest.write("layers/conv2/drawn-0.json", b'{"half')
    assert drawn_again(run, dest) == [0, 64, 0, 0, 0]
    assert_same(dest, atlas)


def test_a_whole_picture_that_is_gone_is_stored_again(run, atlas, tmp_path):
    dest = copied(atlas, tmp_path)
    lost = list(dest.list("pictures"))[5]
    dest.remove(lost)
    drawn_again(run, dest)
    assert dest.read(lost) == atlas.read(lost)


def test_another_layout_or_method_changes_every_sheet(run, atlas, tmp_path, monkeypatch):
    dest, other = copied(atlas, tmp_path / "atlas"), copied(run, tmp_path / "run")
    other.write(schema.PROJECTION_SETTINGS, b'{"unpooling":"last","arrays":false}')
    assert sum(drawn_again(other, dest)) == 143
    assert sum(drawn_again(run, dest)) == 143
    monkeypatch.setattr(schema, "RANKS_SHOWN", 1)
    assert sum(drawn_again(run, dest)) == 143


def test_a_visitor_sees_the_old_atlas_or_the_new_one_whatever_the_moment(tmp_path):
    """Publishing what has changed ends at any write; what the index leads to is there, and one."""
    run = synthetic_run.temporary(tmp_path / "old", layers={"conv2": (66, 6, 8)}, ranks=1)
    other, atlas = changed(run, tmp_path / "run", {3, 65}), Store(tmp_path / "atlas")
    published(run, atlas)
    before, after = reading.named(atlas), None
    for steps in range(60):
        dest = copied(atlas, tmp_path / str(steps))
        with pytest.MonkeyPatch.context() as patch:
            kill_after(steps, patch)
            try:
                published(other, dest)
                after = reading.named(dest)
            except KilledError:
                pass
        named = reading.named(dest)
        assert named <= set(dest.list())
        assert named == (after or before)
        if after:
            break
        published(run, dest)
        assert_same(dest, atlas)
    assert steps > 10


# --- what is there ----------------------------------------------------------------------------


def test_many_files_with_many_row_groups_change_nothing(run, atlas, tmp_path):
    copy = Store(tmp_path / "run")
    for name in run.list():
        if not name.startswith(f"{schema.PROJECTIONS}/layer=conv2"):
            copy.write(name, run.read(name))
    names = [n for n in run.list(schema.PROJECTIONS) if "conv2" in n]
    whole = pa.concat_tables([run.read_table(name) for name in names])
    ranks = pc.max(whole["rank"]).as_py()
    for first in range(0, 132, 11):
        for deepest in (1, ranks):  # as a killed process leaves both
            block = Block("conv2", first, first + 11, deepest)
            copy.write_table(block.name, whole.filter(block.rows), 7)
    other = Store(tmp_path / "atlas")
    published(copy, other)
    assert_same(other, atlas)


def test_some_ranks_only(run, tmp_path, monkeypatch):
    few = synthetic_run.temporary(tmp_path / "run", layers={"conv2": (5, 33, 8)}, projected=3)
    dest = Store(tmp_path / "atlas")
    published(few, dest)
    (layer,) = reading.root(dest)["layers"]
    assert (layer["layout"]["cells"], layer["layout"]["columns"]) == (3, 2)
    monkeypatch.setattr(schema, "RANKS_SHOWN", 1)
    published(few, dest)
    (layer,) = reading.root(dest)["layers"]
    assert layer["layout"]["cells"] == 1
    assert reading.maps(dest, "conv2")["first"] == [0, 1, 2, 3, 4, 5]


def test_layers_and_maps_that_are_not_projected_yet(run, tmp_path):
    partly = Store(tmp_path / "run")
    for name in run.list():
        if not name.startswith(f"{schema.PROJECTIONS}/layer=conv1/"):
            partly.write(name, run.read(name))
    (whole,) = projection_blocks(partly, "layer2.0")
    for first, last in ((whole.first, 3), (4, whole.last)):
        part = replace(whole, first=first, last=last)
        partly.write_table(part.name, partly.read_table(whole.name).filter(part.rows))
    partly.remove(whole.name)
    done = published(partly, Store(tmp_path / "atlas"))
    assert done.unprojected == ("conv1",)
    assert (done.layers, done.missing) == (("conv2", "layer2.0"), 1)
    assert reading.layer(Store(tmp_path / "atlas"), "layer2.0")["missing"] == [3]


def test_no_index_before_everything_is_there(run, tmp_path):
    dest = Store(tmp_path)
    first, *others = publish.units(run, dest)
    for unit in others:
        publish_unit(run, dest, unit)
    with pytest.raises(IncompleteError, match="conv1"):
        publish.publish_pages(run, dest)
    assert not dest.exists("index.html")
    publish_unit(run, dest, first)
    order = []
    writing = Store.write

    class Recording(Store):
        def write(self, name, data, kept=None):
            order.append((name, kept))
            writing(self, name, data, kept)

    publish.publish_pages(run, Recording(tmp_path))
    assert order.pop() == ("index.html", "never")
    assert {kept for _, kept in order} == {"forever"}


def test_a_run_and_an_atlas_in_a_bucket():
    layers = {"conv1": (8, 11, 4), "conv10": (4, 11, 4)}  # one's name begins as the other's
    run = synthetic_run.write(Store("memory://bucket/some/run"), layers=layers, ranks=2)
    dest = Store(f"{run.url}/atlas")
    assert published(run, dest).maps == 12
    assert dest.exists("index.html")
    assert len(reading.maps(dest, "conv1")["first"]) == 9


def test_a_run_without_projections_says_what_to_do(run, tmp_path):
    bare = Store(tmp_path)
    dest = Store(tmp_path / "a")
    with pytest.raises(RequestError, match="is no run"):
        publish.units(bare, dest)
    bare.write(schema.RUN, run.read(schema.RUN))
    with pytest.raises(RequestError, match="deconv-atlas mine"):
        publish.units(bare, dest)
    bare.write(schema.FEATURE_MAPS, run.read(schema.FEATURE_MAPS))
    remedy = f"deconv-atlas project --run {bare.url}"
    for refused in (publish.units, publish.publish_pages):
        with pytest.raises(RequestError, match=remedy):
            refused(bare, dest)


def test_a_layer_all_of_whose_maps_are_dead(tmp_path):
    run = synthetic_run.temporary(tmp_path / "run", layers={"conv1": (4, 11, 4)})
    for name in run.list(schema.PROJECTIONS):
        run.write_table(name, pa.Table.from_pylist([], schema.PROJECTION))
    run.write_table(schema.winners_name("conv1"), pa.Table.from_pylist([], schema.WINNER))
    stats = run.read_table(schema.FEATURE_MAPS).to_pylist()
    stats = [{**row, "active": 0, "max": 0.0, "mean": 0.0} for row in stats]
    run.write_table(schema.FEATURE_MAPS, pa.Table.from_pylist(stats, schema.FEATURE_MAP))
    assert published(run, Store(tmp_path / "atlas")).dead == 4
