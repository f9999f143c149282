import io
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from pipeline import schema
from pipeline.atlas import manifest, publish
from pipeline.atlas.unit import publish_unit
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block
from pipeline.data.stored.results import projection_blocks
from pipeline.errors import IncompleteError, RequestError
from tests.atlas import synthetic_run
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


def published(run, dest):
    for unit in publish.units(run):
        publish_unit(run, dest, unit)
    return publish.publish_pages(run, dest)


def parsed(dest, name="manifest.js"):
    return json.loads(dest.read(name).decode().partition(" = ")[2].removesuffix(";\n"))


def assert_same(atlas, other):
    assert list(atlas.list()) == list(other.list())
    assert all(atlas.read(name) == other.read(name) for name in atlas.list())


def picture(dest, name):
    with Image.open(io.BytesIO(dest.read(name))) as opened:
        return opened.convert("RGBA")


def test_every_live_map_has_a_sheet_and_the_manifest_names_what_is_there(atlas):
    there = set(atlas.list())
    named = {"index.html", "style.css", "manifest.js"}
    named |= {"atlas.js", "elements.js", "pages.js", "viewer.js"}
    for layer in parsed(atlas)["layers"]:
        named |= {
            layer["winners"],
            *layer["overview"]["projections"],
            *layer["overview"]["patches"],
        }
        live = [m for m, share in enumerate(layer["active"]) if share]
        named |= {layer["sheet"].replace("{map}", str(m)) for m in live}
        pages = range(len(layer["overview"]["patches"]))
        named |= {manifest.record_name(layer["name"], page) for page in pages}
    assert there == named
    assert parsed(atlas)["run"]["images"] == synthetic_run.IMAGES
    assert parsed(atlas)["run"]["skipped"] == 3


def test_a_sheet_has_the_size_that_the_manifest_says(atlas):
    for layer in parsed(atlas)["layers"]:
        layout, maps = layer["layout"], layer["maps"]
        block = layout["columns"] * (layout["cell"] + layout["gutter"]) - layout["gutter"]
        sheet = picture(atlas, layer["sheet"].replace("{map}", "1"))
        assert sheet.width == 2 * block + layout["spine"]
        overview = layer["overview"]
        last = picture(atlas, overview["patches"][-1])
        rows = -(-(maps % (overview["columns"] * overview["rows"])) // overview["columns"])
        assert last.height == rows * (overview["cell"] + overview["gutter"]) - overview["gutter"]


def test_the_same_run_gives_the_same_bytes(run, atlas, tmp_path):
    assert publish.units(run)[1:3] == [
        publish.Unit("conv2", 0, 128),
        publish.Unit("conv2", 128, 132),
    ]
    again = Store(tmp_path)
    published(run, again)
    assert_same(again, atlas)


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
    return [publish_unit(run, dest, unit) for unit in publish.units(run)]


def test_what_is_drawn_is_not_drawn_again(run, atlas, tmp_path, monkeypatch):
    dest = copied(atlas, tmp_path)
    monkeypatch.setattr(Store, "write", None)
    assert drawn_again(run, dest) == [0] * 4


def test_what_has_changed_is_drawn_again(run, atlas, tmp_path):
    dest, other = copied(atlas, tmp_path / "atlas"), changed(run, tmp_path / "run", {3, 130})
    assert drawn_again(other, dest) == [0, 1, 1, 0]
    fresh = Store(tmp_path / "fresh")
    published(other, fresh)
    assert_same(dest, fresh)
    assert dest.read("layers/conv2/3.webp") != atlas.read("layers/conv2/3.webp")
    assert drawn_again(run, dest) == [0, 1, 1, 0]
    assert_same(dest, atlas)


@pytest.mark.parametrize("name", ["12.webp", "patches-0.webp", "drawn-0.json"])
def test_what_is_gone_or_damaged_is_made_anew(run, atlas, tmp_path, name):
    dest = copied(atlas, tmp_path)
    dest.remove(f"layers/conv2/{name}")
    drawn_again(run, dest)
    assert_same(dest, atlas)
    dest.write("layers/conv2/drawn-0.json", b'{"half')
    assert drawn_again(run, dest) == [0, 128, 0, 0]
    assert_same(dest, atlas)


def test_another_layout_or_method_changes_every_sheet(run, atlas, tmp_path, monkeypatch):
    dest, other = copied(atlas, tmp_path / "atlas"), copied(run, tmp_path / "run")
    other.write(schema.PROJECTION_SETTINGS, b'{"unpooling":"last","arrays":false}')
    assert sum(drawn_again(other, dest)) == 143
    assert sum(drawn_again(run, dest)) == 143
    monkeypatch.setattr("pipeline.atlas.unit.RANKS", 1)
    assert sum(drawn_again(run, dest)) == 143


def test_an_end_at_any_moment(run, atlas, tmp_path):
    """Of publishing what has changed; then the run as it was is published in its place."""
    other = changed(run, tmp_path / "run", {3, 130})
    for steps in range(12):
        dest = copied(atlas, tmp_path / str(steps))
        with pytest.MonkeyPatch.context() as patch:
            kill_after(steps, patch)
            try:
                drawn_again(other, dest)
                killed = False
            except KilledError:
                killed = True
        drawn_again(run, dest)
        assert_same(dest, atlas)
        if not killed:
            break
    assert steps == 10  # two records removed; then a sheet, two pictures and a record, twice


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
    (layer,) = parsed(dest)["layers"]
    assert (layer["layout"]["cells"], layer["layout"]["columns"]) == (3, 2)
    monkeypatch.setattr(publish, "RANKS", 1)
    monkeypatch.setattr("pipeline.atlas.unit.RANKS", 1)
    published(few, dest)
    (layer,) = parsed(dest)["layers"]
    assert layer["layout"]["cells"] == 1
    assert [len(numbers) for numbers in layer["classes"]] == [1] * 5


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
    assert parsed(Store(tmp_path / "atlas"))["layers"][1]["missing"] == [3]


def test_no_index_before_everything_is_there(run, tmp_path):
    dest = Store(tmp_path)
    first, *others = publish.units(run)
    for unit in others:
        publish_unit(run, dest, unit)
    with pytest.raises(IncompleteError, match="conv1"):
        publish.publish_pages(run, dest)
    assert not dest.exists("index.html")
    publish_unit(run, dest, first)
    order = []
    writing = Store.write

    class Recording(Store):
        def write(self, name, data):
            order.append(name)
            writing(self, name, data)

    publish.publish_pages(run, Recording(tmp_path))
    assert order[-1] == "index.html"
    assert order.index("manifest.js") > order.index(manifest.winners_name("layer2.0"))


def test_a_run_and_an_atlas_in_a_bucket():
    layers = {"conv1": (8, 11, 4), "conv10": (4, 11, 4)}  # one's name begins as the other's
    run = synthetic_run.write(Store("memory://bucket/some/run"), layers=layers, ranks=2)
    dest = Store(f"{run.url}/atlas")
    assert published(run, dest).maps == 12
    assert dest.exists("index.html")
    assert len(parsed(dest, "layers/conv1/winners.js")["first"]) == 9


def test_a_run_without_projections_says_what_to_do(run, tmp_path):
    bare = Store(tmp_path)
    with pytest.raises(RequestError, match="is no run"):
        publish.units(bare)
    bare.write(schema.RUN, run.read(schema.RUN))
    with pytest.raises(RequestError, match="deconv-atlas mine"):
        publish.units(bare)
    bare.write(schema.FEATURE_MAPS, run.read(schema.FEATURE_MAPS))
    remedy = f"deconv-atlas project --run {bare.url}"
    for refused in (publish.units, lambda run: publish.publish_pages(run, Store(tmp_path / "a"))):
        with pytest.raises(RequestError, match=remedy):
            refused(bare)


def test_a_layer_all_of_whose_maps_are_dead(tmp_path):
    run = synthetic_run.temporary(tmp_path / "run", layers={"conv1": (4, 11, 4)})
    for name in run.list(schema.PROJECTIONS):
        run.write_table(name, pa.Table.from_pylist([], schema.PROJECTION))
    run.write_table(schema.winners_name("conv1"), pa.Table.from_pylist([], schema.WINNER))
    stats = run.read_table(schema.FEATURE_MAPS).to_pylist()
    stats = [{**row, "active": 0, "max": 0.0, "mean": 0.0} for row in stats]
    run.write_table(schema.FEATURE_MAPS, pa.Table.from_pylist(stats, schema.FEATURE_MAP))
    assert published(run, Store(tmp_path / "atlas")).dead == 4
