import io
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.type import broken, fit, text_width
from pipeline.atlas.explain.bands import Winners
from pipeline.atlas.explain.figure import explain_page
from pipeline.atlas.explain.items import depth_items, placed, squared
from pipeline.core.render import MID_GREY
from pipeline.data.findings import Explanation
from pipeline.data.pictures import Picture, Wanted, read_picture
from pipeline.stages.explain import explain_pictures
from pipeline.stages.project import png
from tests.stages.test_explain import LAYERS, photo, small_net


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    net = small_net()
    (explanation,) = explain_pictures(net, [read_picture(photo(1), net.preprocessing)])
    return explanation


def winners(explanation: Explanation) -> Winners:
    """Rows as a run has them, for all but the last map found."""
    rows = [
        {
            "rank": rank,
            "projection": png(activation.contrast),
            "patch": png(explanation.patch(activation)),
        }
        for activation in explanation.found
        for rank in (2, 1)
    ]
    frames = [pd.DataFrame(rows[at : at + 2]) for at in range(0, len(rows), 2)]
    return {
        (activation.layer, activation.feature_map): frame
        for activation, frame in zip(explanation.found[:-1], frames, strict=False)
    }


def test_files_open_and_are_the_same_each_time(explanation: Explanation) -> None:
    page = explain_page(
        explanation, LAYERS, caption=["demo, costs $5 and $6"], winners=winners(explanation)
    )
    files = {form: page.save(form) for form in ("png", "pdf", "svg")}
    picture = Image.open(io.BytesIO(files["png"]))
    assert picture.width == pytest.approx(page.width * page.density, abs=2)
    assert np.asarray(picture.convert("L")).std() > 20
    assert files["pdf"].startswith(b"%PDF-")
    assert files["pdf"].count(b"/Type /Page\n") + files["pdf"].count(b"/Type /Page ") == 1
    assert ET.fromstring(files["svg"]).tag.endswith("svg")
    assert page.save("svg") == files["svg"]


@pytest.mark.parametrize("width", [297, 183])
def test_nothing_is_cut_off(explanation: Explanation, width: float) -> None:
    """All type lies on the page."""
    page = explain_page(
        explanation, LAYERS, caption=["x" * 400], winners=winners(explanation), width=width
    )
    assert page.width == width
    renderer = FigureCanvasAgg(page.figure).get_renderer()
    for text in page.axes.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= page.figure.bbox.width
        assert box.y1 <= page.figure.bbox.height


def test_maps_that_are_outputs_are_called_by_their_classes(explanation: Explanation) -> None:
    top = explanation.of(explanation.top)[0]
    names = [f"class {number}" for number in range(1000)]
    page = explain_page(explanation, LAYERS, caption=[], outputs={explanation.top: names})
    said = [text.get_text() for text in page.axes.texts]
    assert f"map {top.feature_map}, class {top.feature_map}" in said
    long = [f"{name} of a name for which there is no room in any column" * 3 for name in names]
    page = explain_page(explanation, LAYERS, caption=[], outputs={explanation.top: long})
    assert f"map {top.feature_map}" in [text.get_text() for text in page.axes.texts]


def test_there_is_room_to_say_that_no_map_is_projected(explanation: Explanation) -> None:
    page = explain_page(explanation, LAYERS, caption=[], winners={})
    full = explain_page(explanation, LAYERS, caption=[], winners=winners(explanation))
    bare = explain_page(explanation, LAYERS, caption=[])
    assert page.height == full.height > bare.height


@pytest.mark.parametrize("dead", [{"conv3": -1e6}, dict.fromkeys(LAYERS, -1e6)])
def test_inactive_layers_are_said(dead: dict[str, float]) -> None:
    net = small_net(**dead)
    (explanation,) = explain_pictures(net, [read_picture(photo(1), net.preprocessing)])
    page = explain_page(explanation, LAYERS, caption=[])
    said = " ".join(text.get_text() for text in page.axes.texts)
    assert said.count("No activation:") == len(dead) + (len(dead) == len(LAYERS))


def test_every_box_is_drawn_and_labelled(explanation: Explanation) -> None:
    page = explain_page(explanation, LAYERS[1:], caption=[])
    said = [text.get_text() for text in page.axes.texts]
    for layer in LAYERS[1:]:
        assert layer in said
        assert f"map {explanation.of(layer)[0].feature_map}" in said
    for chip in "1234ABC":
        assert said.count(chip) == 2


def test_projections_stand_at_their_places(explanation: Explanation) -> None:
    items = depth_items(explanation, ["conv5", "conv1"])
    canvas = placed(items, 112)
    small, large = explanation.of("conv1")[0], explanation.of("conv5")[0]
    top, left, bottom, right = small.box
    assert (canvas[top:bottom, left:right] == small.contrast).all()
    outside = np.ones((112, 112), bool)
    for top, left, bottom, right in (small.box, large.box):
        outside[top:bottom, left:right] = False
    assert (canvas[outside] == MID_GREY).all()


def test_squared_keeps_pixels() -> None:
    tall = np.full((7, 3, 3), 200, np.uint8)
    square = squared(tall)
    assert square.shape == (7, 7, 3)
    assert (square[:, 2:5] == 200).all()
    assert (square[:, :2] == MID_GREY).all()


def test_type_fits() -> None:
    name = "features.denseblock4.denselayer16.conv2"
    for keep_end in (False, True):
        shown, size = fit(name, 10, True, 30, keep_end)
        assert 27 < text_width(shown, size, True) <= 30
        assert shown.endswith("conv2")
        assert "…" in shown
    lines = broken("one two three four five six seven", 10, 25)
    assert " ".join(lines) == "one two three four five six seven"
    assert all(text_width(line, 10) <= 25 for line in lines)


def test_type_that_fits_when_it_is_smaller_is_never_shortened() -> None:
    """Whatever rounding makes of a size that is just small enough."""
    needed = text_width("sunglass 1/9", 18)
    for share in np.linspace(0.71, 1, 300):
        shown, size = fit("sunglass 1/9", 18, False, share * needed)
        assert shown == "sunglass 1/9"
        assert text_width(shown, size) == pytest.approx(share * needed)


def test_a_page_is_as_large_as_asked() -> None:
    page = Page(100, 50, density=4)
    page.picture(Area(10, 10, 20, 20), np.full((5, 5, 3), (255, 0, 0), np.uint8))
    pixels = np.asarray(Image.open(io.BytesIO(page.save("png"))).convert("RGB"))
    assert pixels.shape == (200, 400, 3)
    assert (pixels[45:115, 45:115] == (255, 0, 0)).all()
    assert (pixels[:35] == 255).all()


def test_a_long_name_as_title(explanation: Explanation) -> None:
    picture = explanation.picture
    named = Picture(Wanted("s3://b/" + "x" * 300, class_name="crane"), picture.image, picture.size)
    page = explain_page(Explanation(named, explanation.layers, ()), ["conv1"], caption=[])
    assert page.axes.texts[0].get_text().endswith("(crane)")
