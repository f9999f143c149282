import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline import schema
from pipeline.atlas.explain.figure import figure_layers, found_winners
from pipeline.atlas.layers import spread_by_depth
from pipeline.core.nets import demo, known
from pipeline.core.nets.known import Net
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.core.projection.deconvnet import ascend
from pipeline.core.render import projection_contrast
from pipeline.data.pictures import Picture, Wanted, read_picture
from pipeline.data.samples import Located
from pipeline.data.store import Store
from pipeline.data.stored import picture_columns
from pipeline.data.stored.named import find_pictures
from pipeline.errors import RequestError
from pipeline.stages.explain import explain_pictures, explain_unit, to_table, units
from tests.stages import tiny

LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5"]


def small_net(**dead: float) -> Net:
    """The demo's net with random weights; `dead` layers get such a bias that nothing is active."""
    module = known.build("demo", seed=3)
    path = dict(zip(LAYERS, (0, 3, 6, 8, 10), strict=True))
    with torch.no_grad():
        for layer, bias in dead.items():
            module.get_submodule(f"features.{path[layer]}").bias.fill_(bias)
    preprocessing = Preprocessing(demo.RESIZE, demo.CROP, demo.MEAN, demo.STD)
    return known.assemble("demo", module, preprocessing)


@pytest.fixture(scope="module")
def net() -> Net:
    return small_net()


def photo(seed: int, width: int = 150, height: int = 190) -> Image.Image:
    """Smooth colours with hard edges."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    pixels = np.array(small.resize((width, height), Image.Resampling.BICUBIC))
    for _ in range(8):
        y, x, h, w = rng.integers(8, 90, 4)
        pixels[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def test_the_strongest_activation_is_the_largest_of_all_maps_and_positions(net: Net) -> None:
    pictures = [read_picture(photo(seed), net.preprocessing) for seed in range(3)]
    explanations = explain_pictures(net, pictures)
    batch = torch.stack([picture.image for picture in pictures])
    activations = ascend(net.graph, net.preprocessing.normalise(batch)).activations
    for n, explanation in enumerate(explanations):
        assert [layer.name for layer in explanation.layers] == LAYERS
        for layer in LAYERS:
            maps = activations[layer][n]
            one = explanation.of(layer)[0]
            assert one.value == float(maps.max())
            assert float(maps[one.feature_map, one.y, one.x]) == one.value
        peaks = activations["conv5"][n].amax((1, 2)).sort(descending=True)
        top = explanation.of("conv5")
        assert [one.feature_map for one in top] == peaks.indices[:3].tolist()
        assert [one.value for one in top] == peaks.values[:3].tolist()
        assert [one.rank for one in top] == [1, 2, 3]


def test_boxes_grow_with_depth_and_hold_the_whole_projection(net: Net) -> None:
    (explanation,) = explain_pictures(net, [read_picture(photo(1), net.preprocessing)])
    sizes = [layer.receptive_field.size[0] for layer in explanation.layers]
    assert all(small < large for small, large in pairwise(sizes))
    for one in explanation.found:
        top, left, bottom, right = one.box
        assert one.projection.shape == (3, bottom - top, right - left)
        assert explanation.patch(one).shape == (bottom - top, right - left, 3)
        above, before, below, behind = one.source_box
        assert 0 <= above < below <= 190
        assert 0 <= before < behind <= 150
        scale = 150 / demo.RESIZE
        assert behind - before == pytest.approx((right - left) * scale, rel=1e-5)


def test_an_inactive_layer_is_a_row_without_activation() -> None:
    net = small_net(conv4=-1e6)
    (explanation,) = explain_pictures(net, [read_picture(photo(2), net.preprocessing)])
    assert explanation.of("conv4") == []
    assert len(explanation.of("conv3")) == 1
    rows = to_table(explanation).to_pylist()
    (row,) = [row for row in rows if row["layer"] == "conv4"]
    assert row["activation"] is None
    assert row["projection"] is None
    assert row["image"] == "picture"


def test_everything_inactive_is_no_failure() -> None:
    net = small_net(**dict.fromkeys(LAYERS, -1e6))
    (explanation,) = explain_pictures(net, [read_picture(photo(2), net.preprocessing)])
    assert explanation.found == ()
    assert len(to_table(explanation)) == len(LAYERS)


def test_the_table_of_a_unit_is_read_back(net: Net, tmp_path: Path) -> None:
    names = []
    for seed in range(3):
        names.append(str(tmp_path / f"a picture {seed}.png"))
        photo(seed).save(names[-1])
    run = Store(tmp_path / "run")
    (unit,) = units(find_pictures(names))
    layers = ["conv3", "conv1"]
    stored, unusable, _ = explain_unit(net, unit, None, run, layers, lambda _: {"svg": b"<svg/>"})
    assert not unusable
    assert sorted(stored) == sorted(run.list("explain"))
    assert len(stored) == 6
    pictures = [read_picture(one, net.preprocessing) for one in unit]
    explanations = explain_pictures(net, pictures, layers)
    table = run.read_table(f"explain/{unit[1].file_stem}.parquet")
    assert table.schema.equals(picture_columns.EXPLANATION)
    assert table["layer"].to_pylist() == ["conv1", "conv3", "conv3", "conv3"]
    for row, one in zip(table.to_pylist(), explanations[1].found, strict=True):
        assert row["activation"] == one.value
        shown = np.asarray(Image.open(io.BytesIO(row["projection"])))
        assert (shown == projection_contrast(one.projection)).all()


def test_another_number_of_maps(net: Net) -> None:
    picture = read_picture(photo(4), net.preprocessing)
    (explanation,) = explain_pictures(net, [picture], ["conv2"], top=5)
    assert [one.rank for one in explanation.found] == [1, 2, 3, 4, 5]


def test_file_names_are_safe_and_differ() -> None:
    names = ["s3://bucket/x/Ä photo?.jpg", "s3://bucket/y/Ä photo?.jpg", "../..", "", "a/b/"]
    stems = [Wanted(name).file_stem for name in names]
    assert len(set(stems)) == len(stems)
    assert all(stem.replace("-", "").replace("_", "").isalnum() for stem in stems)
    assert all(stem.isascii() for stem in stems)


def test_wrong_requests(net: Net, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    with pytest.raises(RequestError, match=r"bad\.jpg cannot be used: damaged"):
        read_picture(str(bad), net.preprocessing)
    with pytest.raises(RequestError, match="There is no picture"):
        read_picture(str(tmp_path / "none.jpg"), net.preprocessing)
    with pytest.raises(RequestError, match="cannot be"):
        read_picture(str(tmp_path), net.preprocessing)
    with pytest.raises(RequestError, match="has no layer 'conv9'; it has conv1"):
        explain_pictures(net, [read_picture(photo(0), net.preprocessing)], ["conv9"])


def test_layers_spread_by_depth(net: Net) -> None:
    squeeze = known.assemble(
        "squeezenet1_1", known.build("squeezenet1_1"), known.preprocessing("squeezenet1_1")
    )
    picture = read_picture(photo(0), squeeze.preprocessing)
    (explanation,) = explain_pictures(squeeze, [picture])
    chosen = spread_by_depth(explanation.layers, 6)
    sizes = [layer.receptive_field.size[0] for layer in chosen]
    assert len(chosen) == 6
    assert chosen[0].name == "features.0"
    assert chosen[-1].name == explanation.layers[-1].name
    assert all(small < large for small, large in pairwise(sizes))
    assert spread_by_depth(explanation.layers[:4], 6) == list(explanation.layers[:4])


@pytest.mark.parametrize("given", ["sample", "path", "link", "URL", "elsewhere"])
def test_the_picture_itself_is_no_other_winner(
    net: Net, tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(5).save(tmp_path / "7.png")
    (tmp_path / "link.png").symlink_to("7.png")
    monkeypatch.chdir(tmp_path)
    shard = "s3://bucket/photos" if given == "elsewhere" else str(tmp_path)
    wanted = {
        "sample": Wanted("7.png", Located(shard, "7.png"), 7),
        "path": Wanted("./7.png"),
        "link": Wanted(str(tmp_path / "link.png")),
        "URL": Wanted(f"file://{tmp_path}/7.png"),
        "elsewhere": Wanted("s3://bucket/photos/7.png"),
    }[given]
    picture = read_picture(photo(5), net.preprocessing)
    named = Picture(wanted, picture.image, picture.size)
    (explanation,) = explain_pictures(net, [named], ["conv1"])
    maps = [one.feature_map for one in explanation.found]
    rows = [
        {
            "feature_map": feature_map, "rank": rank, "sample": sample,
            "shard": shard, "key": f"{sample}.png",
        }
        for feature_map in (*maps[:2], 31 - maps[0])
        for rank, sample in enumerate((3, 7, 1, 9, 2), start=1)
    ]  # fmt: skip
    run = Store(tmp_path / "run")
    name = schema.projections_name("conv1", 0, 32, 5)
    run.write_table(name, pa.Table.from_pylist(rows, schema=schema.PROJECTION))
    winners = found_winners(run, explanation, figure_layers(explanation))
    assert set(winners) == {("conv1", feature_map) for feature_map in maps[:2]}
    assert all(frame["sample"].tolist() == [3, 1, 9] for frame in winners.values())


@pytest.mark.parametrize(
    ("rectifier", "cut"),
    [(nn.ReLU6(inplace=True), 6.0), (nn.Hardtanh(-6, 6), 6.0), (nn.Hardsigmoid(inplace=True), 1.0)],
    ids=str,
)
def test_what_saturates_is_ranked_by_what_it_was_before(rectifier: nn.Module, cut: float) -> None:
    """Maps of 9, 90 and 900 at their strongest are cut off alike, as are other places of theirs."""
    conv = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(255 / 3 * torch.tensor([0.1, 10.0, 1.0])[:, None, None, None])
    net = tiny.net_of(nn.Sequential(conv, rectifier))
    pixels = np.full((tiny.SIDE, tiny.SIDE, 3), 70, np.uint8)
    pixels[5, 7] = 90
    (explanation,) = explain_pictures(
        net, [read_picture(Image.fromarray(pixels), net.preprocessing)]
    )
    found = explanation.of("first")
    assert [one.feature_map for one in found] == [1, 2, 0]
    assert {(one.y, one.x) for one in found} == {(5, 7)}
    assert [one.value for one in found] == [cut] * 3
    rows = to_table(explanation).to_pydict()
    assert rows["before_rectification"] == pytest.approx([900.0, 90.0, 9.0])
