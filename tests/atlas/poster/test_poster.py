import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from pipeline import schema
from pipeline.atlas.drawing.page import Page
from pipeline.atlas.poster.choice import (
    MOST_NAMED,
    RANKS,
    example_pictures,
    outstanding,
    require_shown,
    shown_layers,
    shown_maps,
)
from pipeline.atlas.poster.page import HEIGHT, WIDTH, compose, draw_method, row_plan
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.nets.known import Net
from pipeline.core.render import projection_contrast
from pipeline.data.pictures import read_picture
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block
from pipeline.errors import RequestError
from pipeline.stages.explain import explain_pictures
from pipeline.stages.project import png
from tests.stages.test_explain import LAYERS, photo, small_net

DEAD, UNPROJECTED = 3, 4


@pytest.fixture(scope="module")
def net() -> Net:
    return small_net()


@pytest.fixture(scope="module")
def spec(net: Net) -> RunSpec:
    layers = tuple(
        LayerSpec(
            name=layer.name,
            maps=layer.maps,
            size=layer.size,
            receptive_field=receptive_field(net.graph, layer),
        )
        for layer in net.graph.layers
    )
    return RunSpec(
        net="demo", weights="random:3", weights_digest="0" * 64, classes=16,
        preprocessing=net.preprocessing, layers=layers, top_k=4, precision="exact",
        data="/home/someone/somewhere", format="folder", fingerprint="f", versions={"torch": "2"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run of eight live maps a layer, their pictures drawn."""
    store = Store(tmp_path_factory.mktemp("run"))
    rng = np.random.default_rng(0)
    stats = []
    for layer in spec.layers:
        side = min(layer.receptive_field.size[0], 112)
        rows = [
            row
            for feature_map in range(8)
            if feature_map != DEAD
            for row in _rows(rng, feature_map, side)
        ]
        winners = pa.Table.from_pylist(rows, schema.WINNER)
        store.write_table(schema.winners_name(layer.name), winners)
        table = pa.Table.from_pylist(rows, schema.PROJECTION)
        for first, last in ((0, UNPROJECTED), (UNPROJECTED + 1, layer.maps)):
            block = Block(layer.name, first, last, 99)
            store.write_table(block.name, table.filter(block.rows))
        stats += [
            {
                "layer": layer.name, "feature_map": n, "images": 500, "active": 300,
                "max": 10.0 + n if n < 8 and n != DEAD else 0.0, "mean": 2.0, "std": 1.0,
            }
            for n in range(layer.maps)
        ]  # fmt: skip
    store.write_table(schema.FEATURE_MAPS, pa.Table.from_pylist(stats, schema.FEATURE_MAP))
    return store


def _rows(rng: np.random.Generator, feature_map: int, side: int) -> list[dict[str, object]]:
    return [
        {
            "feature_map": feature_map, "rank": rank, "activation": 10.0 + feature_map - rank,
            "y": 0, "x": 0, "shard": "s", "key": f"{feature_map}-{rank}.jpg",
            "sample": 10 * feature_map + rank, "label": rank % 2,
            "class_name": ("tench, Tinca tinca", "crane")[rank % 2],
            "top": 0, "left": 0, "bottom": side, "right": side,
            "projection": png(projection_contrast(rng.normal(size=(3, side, side)))),
            "patch": png(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)),
        }
        for rank in range(1, 5)
    ]  # fmt: skip


def test_one_page_of_a0(run: Store, spec: RunSpec, net: Net) -> None:
    pictures = [read_picture(photo(seed), net.preprocessing) for seed in (1, 2)]
    examples = explain_pictures(net, pictures, LAYERS)
    page = compose(run, spec, net.graph, examples=examples)
    pdf, picture = page.save("pdf"), page.save("png")
    boxes = re.findall(rb"/MediaBox \[ ?([\d. ]+)\]", pdf)
    assert len(boxes) == 1
    left, bottom, right, top = map(float, boxes[0].split())
    assert (left, bottom) == (0, 0)
    assert (right / 72 * 25.4, top / 72 * 25.4) == pytest.approx((WIDTH, HEIGHT), abs=0.5)
    assert b"/FontFile2" in pdf  # type is type, not pictures
    shown = Image.open(io.BytesIO(picture))
    assert shown.height / shown.width == pytest.approx(HEIGHT / WIDTH, abs=0.001)
    assert shown.width > 3000
    # every part of the page is used
    ink = np.asarray(shown.convert("L").resize((84, 118)), float)
    blocks = ink[3:-3, 5:-5].reshape(8, 14, 2, 37).std((1, 3))
    assert (blocks > 5).all()


def test_further_figures_make_the_page_longer(run: Store, spec: RunSpec, net: Net) -> None:
    red, blue = (np.full((60, 100, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))
    page = compose(run, spec, net.graph, figures=[red, blue])
    usual = compose(run, spec, net.graph)
    assert page.width == usual.width
    added = [image.get_extent() for image in page.axes.images[-2:]]
    for left, right, bottom, top in added:
        assert (bottom - top) / (right - left) == pytest.approx(0.6)
    assert added[0][2] < added[1][3]  # one below the other
    assert page.height == pytest.approx(usual.height + 2 * (added[0][2] - added[0][3]), abs=60)
    footers = [[text.get_position()[1] for text in each.axes.texts][-1] for each in (page, usual)]
    assert footers[0] > added[1][2]
    assert page.height - footers[0] == pytest.approx(usual.height - footers[1])


@pytest.mark.parametrize(("examples", "occlusion"), [(0, 0), (1, 0), (0, 1), (2, 2)])
def test_there_is_room_for_maps_whatever_else_is_shown(
    net: Net, examples: int, occlusion: int
) -> None:
    method = draw_method(Page(WIDTH, HEIGHT), 0, net.graph)
    plan, _ = row_plan(method, 5, examples, occlusion)
    assert plan.maps >= 3
    assert plan.cell >= 20
    assert plan.gap >= 5


@pytest.mark.parametrize("layers", range(1, MOST_NAMED + 1))
@pytest.mark.parametrize("method", [220.0, 250.0])  # a short net's diagram, a long net's
@pytest.mark.parametrize(("examples", "occlusion"), [(1, 0), (0, 1), (2, 2)])
def test_as_many_layers_as_may_be_named_fill_the_page_and_no_more(
    method: float, layers: int, examples: int, occlusion: int
) -> None:
    plan, spare = row_plan(method, layers, examples, occlusion)
    assert 0 <= spare < 150
    assert plan.cell >= 15
    assert plan.gap >= 5


@pytest.mark.parametrize("count", range(1, 6))
def test_nothing_lies_over_the_footer_or_another_panel(
    run: Store, spec: RunSpec, net: Net, count: int
) -> None:
    pictures = [read_picture(photo(seed), net.preprocessing) for seed in (1, 2)]
    examples = explain_pictures(net, pictures, LAYERS)
    page = compose(run, spec, net.graph, layers=LAYERS[:count], examples=examples)
    (footer,) = (text for text in page.axes.texts if text.get_text().startswith("Feature maps sh"))
    lowest = max(bottom for *_, bottom, _ in (image.get_extent() for image in page.axes.images))
    assert lowest < footer.get_position()[1] - 4
    pictures_start = next(
        text.get_position()[1] for text in page.axes.texts if text.get_text().startswith("One pict")
    )
    of_layers = [
        bottom
        for left, _, bottom, top in (image.get_extent() for image in page.axes.images)
        if left > 0 and top < pictures_start
    ]
    assert max(of_layers) < pictures_start


def test_maps_are_chosen_by_the_criterion(run: Store, spec: RunSpec) -> None:
    shown = shown_maps(run, spec.layer("conv3"), 3)
    # all have mean 2 and deviation 1, so the strongest winners stand out most
    assert [shown_map.feature_map for shown_map in shown] == [7, 6, 5]
    assert [shown_map.winners["rank"].tolist() for shown_map in shown] == [[1, 2, 3]] * 3
    assert shown[0].note == "crane 2/4"


def test_no_picture_twice_unless_there_are_no_others() -> None:
    stats = pd.DataFrame(
        {"feature_map": [0, 1, 2], "images": 9, "active": 9, "max": 5.0, "mean": 0.0, "std": 1.0}
    )
    rows = [
        {"feature_map": m, "rank": rank, "activation": 9.0 - m, "sample": sample}
        for m, samples in enumerate([(1, 2, 3), (3, 4, 5), (6, 7, 8)])
        for rank, sample in enumerate(samples, start=1)
    ]
    winners = pd.DataFrame(rows)
    assert outstanding(stats, winners, {0, 1, 2}, 2) == [0, 2]
    assert outstanding(stats, winners, {0, 1, 2}, 3) == [0, 2, 1]
    assert outstanding(stats, winners, {1}, 3) == [1]


def test_maps_by_hand(run: Store, spec: RunSpec) -> None:
    shown = shown_maps(run, spec.layer("conv2"), 5, [1, 0])
    assert [shown_map.feature_map for shown_map in shown] == [1, 0]
    assert all(len(shown_map.winners) == RANKS for shown_map in shown)


@pytest.mark.parametrize(
    ("maps", "why"),
    [
        ({"conv2": [64]}, "has feature maps 0 to 63, not 64"),
        ({"conv2": [-1]}, "has feature maps 0 to 63, not -1"),
        ({"conv2": [DEAD]}, "conv2, feature map 3 is dead"),
        ({"conv2": [UNPROJECTED]}, "has no projections; run `deconv-atlas project"),
        ({"conv9": [1]}, "no layer 'conv9'"),
    ],
)
def test_wrong_maps(
    run: Store, spec: RunSpec, net: Net, maps: dict[str, list[int]], why: str
) -> None:
    with pytest.raises(RequestError, match=why):
        compose(run, spec, net.graph, maps=maps)
    with pytest.raises(RequestError, match=why):
        require_shown(run, spec, None, maps)


def test_a_run_without_projections(run: Store, spec: RunSpec, net: Net, tmp_path: Path) -> None:
    bare = Store(tmp_path)
    with pytest.raises(RequestError, match="not mined to its end"):
        compose(bare, spec, net.graph)
    for name in (schema.FEATURE_MAPS, *(schema.winners_name(layer) for layer in LAYERS)):
        bare.write(name, run.read(name))
    with pytest.raises(RequestError, match="Layer conv1 has no projections"):
        compose(bare, spec, net.graph)


def test_unknown_layers(spec: RunSpec) -> None:
    assert [layer.name for layer in shown_layers(spec, ["conv5", "conv1"])] == ["conv1", "conv5"]
    with pytest.raises(RequestError, match="no layer 'fc6'"):
        shown_layers(spec, ["fc6"])
    with pytest.raises(RequestError, match="feature maps of conv3, which --layers leaves out"):
        shown_layers(spec, ["conv5", "conv1"], ["conv3"])


def test_more_layers_than_have_room(spec: RunSpec) -> None:
    names = [f"conv{n}" for n in range(1, 8)]
    layers = tuple(spec.layers[0].model_copy(update={"name": name}) for name in names)
    many = spec.model_copy(update={"layers": layers})
    assert len(shown_layers(many, names[:6])) == 6
    with pytest.raises(RequestError, match="room for 6 layers, not 7; name fewer"):
        shown_layers(many, names)


def test_more_maps_than_have_room_are_named(
    run: Store, spec: RunSpec, net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    compose(run, spec, net.graph, layers=LAYERS, maps={"conv2": [0, 1, 2, 5, 6, 7] * 2})
    assert "room for" in caplog.text
    assert "left out of conv2" in caplog.text


def test_examples_are_of_different_classes(run: Store, spec: RunSpec) -> None:
    wanted = example_pictures(run, spec.layer("conv5"), 2)
    assert [picture.sample for picture in wanted] == [1]  # all first winners are of one class
    assert wanted[0].class_name == "crane"
    assert wanted[0].located is not None
    assert wanted[0].located.key == "0-1.jpg"
