"""The figure of an occlusion: legible, complete, and true to the maps."""

import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from pipeline.atlas.drawing.page import Page
from pipeline.atlas.drawing.style import RANK_COLOURS
from pipeline.atlas.occlusion.figure import occlusion_figures, occlusion_page, run_caption
from pipeline.atlas.poster.panels import OcclusionPanel
from pipeline.config import RunSpec
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.class_names import ClassNames
from pipeline.data.demo.images import CLASS_NAMES, draw
from pipeline.data.findings import Occluded, OccludeSettings
from pipeline.data.pictures import read_picture
from pipeline.data.weights.load import load_net
from pipeline.stages.occlude import occlude_picture, prepare

SETTINGS = OccludeSettings(occluder=32, stride=16)


pytestmark = pytest.mark.usefixtures("one_thread_in_module")


@pytest.fixture(scope="module")
def occluded() -> Occluded:
    net = load_net("demo").net
    picture = read_picture(draw(1, seed=7).image, net.preprocessing)
    names = ClassNames.of(CLASS_NAMES)
    return occlude_picture(net, prepare(net, SETTINGS), picture, SETTINGS, names)


def texts(page: Page) -> list[str]:
    return [text.get_text() for text in page.axes.texts]


def test_every_format(occluded: Occluded) -> None:
    page = occlusion_page([occluded, occluded], ["demo, bundled weights"])
    with Image.open(io.BytesIO(page.save("png"))) as image:
        assert image.width == pytest.approx(page.width * page.density, abs=2)
        assert image.height == pytest.approx(page.height * page.density, abs=2)
    assert page.save("pdf").startswith(b"%PDF")
    assert b"<svg" in page.save("svg")
    assert page.save("png") == page.save("png")


def test_the_caption_says_everything(occluded: Occluded) -> None:
    found = occluded.found
    said = " ".join(texts(occlusion_page([occluded], ["weights bundled"])))
    for words in (
        "weights bundled", "demo, layer conv5", f"feature map {found.feature_map}",
        "Occluder 32×32 pixels of the mean colour", "stride 16", "6×6 places", "picture",
        "the net's own prediction", "probability, %", "summed over the map",
    ):  # fmt: skip
        assert words in said, words
    given = replace(occluded, class_from="label", settings=replace(SETTINGS, colour=(1, 2, 3)))
    said = " ".join(texts(occlusion_page([given])))
    assert "the sample's label" in said
    assert "own prediction" not in said
    assert "#010203" in said


@pytest.mark.parametrize("width", [297, 183, 89])
def test_nothing_is_cut_off(occluded: Occluded, width: float) -> None:
    long = ClassNames.of([f"class with a very long name {n} that goes on" for n in range(16)])
    page = occlusion_page([many_classes(replace(occluded, names=long))], ["weights"], width)
    assert page.width == width
    page.save("png")
    for text in page.axes.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0, text.get_text()
        assert box.y0 >= 0, text.get_text()
        assert box.x1 <= page.width * page.density + 1, text.get_text()
        assert text.get_size() > 4.1 or "over the map" in text.get_text(), text.get_text()
    if width < 297:
        return
    right = 237 * page.density
    legend = [box for text in page.axes.texts if (box := text.get_window_extent()).x0 > right]
    for upper, lower in pairwise(sorted(legend, key=lambda box: -box.y0)):
        assert lower.y1 <= upper.y0 + 3 or lower.x0 >= upper.x1 or upper.x0 >= lower.x1


def many_classes(occluded: Occluded) -> Occluded:
    classes = np.arange(36).reshape(6, 6) % 9
    return replace(occluded, found=replace(occluded.found, top_class=classes, label=8))


def test_the_correct_class_keeps_its_colour_and_the_rare_ones_share_one(occluded: Occluded) -> None:
    page = occlusion_page([many_classes(occluded)])
    said = texts(page)
    assert CLASS_NAMES[8] in said
    assert "4 other classes" in said
    colours = [
        "#" + bytes(round(255 * part) for part in patch.get_facecolor()[:3]).hex()
        for patch in page.axes.patches
        if patch.get_facecolor()[3] > 0
    ]
    assert colours[0] == RANK_COLOURS[1]
    assert len(set(colours)) == len(colours) == 6


def test_an_inactive_layer_says_so(occluded: Occluded) -> None:
    dead = replace(occluded.found, activation=0.0, base_total=0.0, total=np.zeros((6, 6)))
    nothing = np.zeros_like(occluded.projection)
    page = occlusion_page([replace(occluded, found=dead, projection=nothing)])
    assert any("inactive" in text for text in texts(page))
    page.save("png")


def test_rounding_is_no_picture(occluded: Occluded) -> None:
    flat = np.full((6, 6), 0.97999, np.float32)
    flat[2, 2] -= 0.015
    found = replace(occluded.found, probability=flat, base_probability=0.97999)
    said = texts(occlusion_page([replace(occluded, found=found)]))
    assert any(re.fullmatch(r"93(\.0)?", text) for text in said)


def test_a_picture_that_never_flips_says_so_in_words(occluded: Occluded) -> None:
    sure = np.full((6, 6), 0.99999, np.float32)
    found = replace(
        occluded.found, probability=sure, base_probability=1.0, top_class=np.full((6, 6), 3)
    )
    page = occlusion_page([replace(occluded, found=found)])
    said = " ".join(texts(page))
    assert f"{CLASS_NAMES[3]} is the most probable class wherever the occluder stands." in said
    assert "Hardly changes: 100 (probability, %), wherever the occluder stands." in said
    assert len(page.axes.images) == 4  # the example, the projection, the total and its bar
    poster = Page(400, 400)
    OcclusionPanel(300).draw(poster, 10, 10, replace(occluded, found=found))
    said = " ".join(texts(poster))
    assert "is the most probable class wherever" in said
    assert "Hardly changes: 1 (probability)" in said


def test_no_margin_is_wasted(occluded: Occluded) -> None:
    page = occlusion_page([occluded, many_classes(occluded)])
    page.save("png")
    lowest = min(text.get_window_extent().y0 for text in page.axes.texts) / page.density
    assert 8 < lowest < 13  # millimetres


def test_places_are_called_by_their_last_part(occluded: Occluded) -> None:
    preprocessing = Preprocessing(112, 112, (0.0,) * 3, (1.0,) * 3)
    spec = RunSpec(
        net="demo", weights="/home/someone/net.pth", weights_digest="0" * 64, classes=16,
        preprocessing=preprocessing, layers=(), data="/home/someone/pictures", format="folder",
        fingerprint="f",
    )  # fmt: skip
    svg = occlusion_figures(occluded, spec)
    assert sorted(svg) == ["pdf", "png"]
    said = " ".join(texts(occlusion_page([occluded], run_caption(spec))))
    assert "net.pth" in said
    assert "data pictures" in said
    assert "someone" not in said


def test_maps_lie_over_the_picture(occluded: Occluded) -> None:
    """The pixel in the middle of each place of the occluder has that place's colour."""
    found = occluded.found
    total = np.arange(36, dtype=np.float32).reshape(6, 6)
    page = occlusion_page([replace(occluded, found=replace(found, total=total, base_total=0.0))])
    shown = np.asarray(page.axes.images[2].get_array())
    scale = shown.shape[0] / 112
    seen = {
        tuple(shown[round((top + 16) * scale), round((left + 16) * scale), :3].tolist())
        for top in found.tops
        for left in found.lefts
    }
    assert len(seen) == 36
