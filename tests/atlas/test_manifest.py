import json
from dataclasses import replace

import pandas as pd

from pipeline.atlas import manifest
from pipeline.atlas.sheets import Layout
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.field import ReceptiveField
from pipeline.core.nets.preprocessing import Preprocessing


def layer(winners, maps=3, active=None, name="conv1", projected=(0, 2)):
    columns = ["feature_map", "rank", "activation", "key", "label", "class_name"]
    frame = pd.DataFrame(winners, columns=columns)
    for number, side in enumerate(("top", "left", "bottom", "right")):
        frame[f"source_{side}"] = number + 0.6
    stats = pd.DataFrame(
        {
            "feature_map": range(maps),
            "images": 7,
            "active": active or [3, 0, 7],
            "max": [1.23456, 0.0, 12345.678],
            "mean": [0.5, 0.0, float("nan")],
        }
    )
    field = ReceptiveField((11, 11), (4, 4), (-2, -2))
    spec = LayerSpec(name=name, maps=maps, size=(55, 55), receptive_field=field)
    return manifest.Layer(spec, stats, frame, frozenset(projected), Layout.of(9, 11))


WINNERS = [
    (0, 1, 1.23456, "a.jpg", 3, "tench"),
    (0, 2, 1.0, "b.jpg", 4, None),
    (2, 1, 12345.678, "a.jpg", None, None),
    (2, 2, 5.0, "ü</script>.jpg", 3, "tench"),
]


def parsed(script):
    assert script.isascii()
    target, _, rest = script.decode().partition(" = ")
    return target, json.loads(rest.removesuffix(";\n"))


def test_a_layer_in_the_manifest():
    classes = manifest.Classes()
    entry = manifest.layer_entry(layer(WINNERS), classes)
    assert entry["maps"] == 3
    assert (entry["receptive_field"], entry["stride"]) == ((11, 11), (4, 4))
    assert entry["active"] == [0.4286, 0, 1]
    assert entry["max"] == [1.235, 0, 12350]
    assert entry["mean"] == [0.5, 0, None]
    assert entry["classes"] == [[0, 1], [], [-1, 0]]
    assert entry["missing"] == []
    assert classes.names() == ["tench", "class 4"]
    assert entry["sheet"].replace("{map}", "2") == manifest.sheet_name("conv1", 2)


def test_a_map_with_winners_but_no_projections_is_missing():
    assert layer(WINNERS, projected=[0]).missing == [2]
    assert layer(WINNERS, projected=[0]).dead == [1]


def test_the_winners_of_a_layer():
    classes = manifest.Classes()
    target, found = parsed(manifest.winners_script(layer(WINNERS), classes))
    assert target == 'window.ATLAS.winners["conv1"]'
    assert found["first"] == [0, 2, 2, 4]
    assert [found["keys"][code] for code in found["image"]] == [row[3] for row in WINNERS]
    assert found["class"] == [0, 1, -1, 0]
    assert found["source"][:4] == [1, 2, 3, 4]


def test_no_winners_at_all():
    empty = layer([], active=[0, 0, 0], projected=[])
    _, found = parsed(manifest.winners_script(empty, manifest.Classes()))
    assert found["first"] == [0, 0, 0, 0]
    assert manifest.layer_entry(empty, manifest.Classes())["classes"] == [[], [], []]


def test_the_whole():
    run = RunSpec(
        net="alexnet", weights="/home/me/w.pth", weights_digest="0" * 64, classes=2,
        preprocessing=Preprocessing(resize=256, crop=224), layers=(), top_k=9, precision="exact",
        data="s3://k:s@b/x?sig=1", format="webdataset", fingerprint="f", versions={"torch": "2"},
    )  # fmt: skip
    target, found = parsed(manifest.manifest(run, [], manifest.Classes(), {"images": 5}))
    assert target == "window.ATLAS"
    assert found["run"]["weights"] == "w.pth"
    assert found["run"]["data"] == "s3://b/x"
    assert found["run"]["images"] == 5


def test_classes_of_one_name_are_told_apart():
    classes = manifest.Classes()
    assert [classes.number(134, "crane"), classes.number(517, "crane")] == [0, 1]
    assert classes.number(134, "crane") == 0
    assert classes.number(None, "fox") == 2
    assert classes.number(None, None) == -1
    assert classes.names() == ["crane (134)", "crane (517)", "fox"]


def test_thousands_of_maps_stay_small():
    maps = 4000
    winners = [
        (
            m,
            rank,
            12.345 / rank,
            f"n01440764/ILSVRC2012_val_{m * 9 + rank:08d}.JPEG",
            m % 1000,
            f"c{m}",
        )
        for m in range(maps)
        for rank in range(1, 10)
    ]
    small = layer(winners[:1])
    frame = small.winners
    frame = pd.DataFrame(winners, columns=frame.columns[:6]).assign(
        source_top=10.2, source_left=100.0, source_bottom=173.0, source_right=263.0
    )
    stats = pd.DataFrame(
        {"feature_map": range(maps), "images": 50_000, "active": range(1, maps + 1)}
    ).assign(max=12.345678, mean=3.14159)
    big = replace(small, stats=stats, winners=frame, projected=frozenset(range(maps)))
    classes = manifest.Classes()
    entry = manifest.layer_entry(big, classes)
    assert len(json.dumps(entry, separators=(",", ":"))) / maps < 80
    assert len(manifest.winners_script(big, classes)) / maps < 900
