"""The figures of correspondence and invariance: what is drawn is what was found."""

import numpy as np
import pandas as pd
import pytest

from pipeline.atlas.drawing.page import Page
from pipeline.atlas.experiments.correspondence import correspondence_page
from pipeline.atlas.experiments.invariance import invariance_page
from pipeline.core.transforms import TRANSFORMS, amounts

PIXELS = np.full((8, 8, 3), 90, np.uint8)


def texts(page: Page) -> set[str]:
    found = page.axes.texts
    for text in found:
        assert -0.5 <= text.get_position()[0] <= page.width
        assert -0.5 <= text.get_position()[1] <= page.height
    return {text.get_text() for text in found}


@pytest.mark.parametrize("width", [150, 297])
@pytest.mark.parametrize("layers", [1, 3, 40])
def test_correspondence(width: float, layers: int) -> None:
    names = [f"features.{number}.expand3x3" for number in range(layers)]
    summary = {
        part: {name: (level + 0.01 * number, 0.02) for number, name in enumerate(names)}
        for part, level in (("left eye", 0.1), ("random", 0.2))
    }
    pictures = [("one.jpg", [("picture", PIXELS), ("left eye", PIXELS), ("random", PIXELS)])]
    page = correspondence_page(summary, pictures, ["a run"], width)
    last = 0.01 * (layers - 1)
    said = texts(page)
    assert {"left eye", "random", "one.jpg", f"{0.1 + last:.3f} ± 0.020"} <= said
    dots = [line.get_ydata() for line in page.axes.lines if line.get_marker() == "o"]
    assert [len(line) for line in dots] == [layers, layers]
    assert (dots[0] > dots[1]).all()  # down the page
    assert page.save("pdf").startswith(b"%PDF")


@pytest.mark.parametrize("classifier", [True, False])
def test_invariance(classifier: bool) -> None:
    rows = pd.DataFrame(
        {
            "image": image, "transform": transform, "amount": amount, "layer": layer,
            "relative": number * abs(amount - (transform == "scale")),
            "probability": 0.5 if classifier else np.nan,
        }
        for number, image in enumerate(["one", "two"], 1)
        for transform in TRANSFORMS
        for amount in amounts(transform, 64)
        for layer in ("low", "high")
    )  # fmt: skip
    pictures = {transform: {"one": PIXELS, "two": PIXELS} for transform in TRANSFORMS}
    page = invariance_page(rows, pictures, ("low", "high"), ["a run"], 183)
    said = texts(page)
    assert {"Distance, low", "Distance, high", "Scale, times", "270"} <= said
    lines = [line.get_ydata() for line in page.axes.lines if len(line.get_ydata()) > 10]
    assert len(lines) == 3 * 2 * (3 if classifier else 2)
    ends = [lines[n][0] - lines[n].max() for n in (0, 1)]  # of the first panel: its two pictures
    assert ends[1] == pytest.approx(2 * ends[0])
    if not classifier:
        assert "The net has no classifier." in " ".join(said)
