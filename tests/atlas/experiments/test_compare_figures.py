"""The figures of checkpoints and of nets: lines are shares, pictures are where they belong."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.atlas.experiments.evolution import MAPS, evolution_page
from pipeline.atlas.experiments.nets import Pair, Side, nets_page

LAYERS = ["conv1", "conv2", "features.12.expand3x3"]


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 12), (90, 128, 160)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("checkpoints", [2, 5, 12])
@pytest.mark.parametrize("width", [183, 297])
def test_evolution(checkpoints: int, width: float) -> None:
    names = [f"epoch-{number:02}" for number in range(checkpoints)]
    rows = pd.DataFrame(
        {
            "layer": layer, "feature_map": feature_map, "checkpoint": number,
            "shared_with_last": number / checkpoints, "jumped": number % 2 if number > 1 else None,
            "became_itself": 1 + feature_map % checkpoints,
        }
        for layer in LAYERS
        for feature_map in range(10)
        for number in range(1, checkpoints + 1)
    )  # fmt: skip
    projections = {
        (layer, feature_map, number): png()
        for layer in LAYERS
        for feature_map in range(MAPS)
        for number in range(1, checkpoints + 1)
    }
    page = evolution_page(rows, projections, names, LAYERS, ["a net"], width)
    lines = [line.get_ydata() for line in page.axes.lines if len(line.get_ydata()) == checkpoints]
    of_last = next(line for line in lines if np.ptp(line) > 1 and np.ptp(np.diff(line)) < 1e-6)
    assert of_last[0] > of_last[-1]  # a share that grows goes up the page
    shown = len(page.axes.images)
    assert shown == len(LAYERS) * MAPS * min(checkpoints, 8)
    said = {text.get_text() for text in page.axes.texts}
    assert {"conv1", names[0], names[-1], "a net"} <= said
    for text in page.axes.texts:
        assert 0 <= text.get_position()[1] <= page.height


@pytest.mark.parametrize("sides", [2, 4])
def test_nets_side_by_side(sides: int) -> None:
    rng = np.random.default_rng(0)
    shown = [
        Side(
            f"run{n}",
            rng.normal(size=(30 + n, 3, 7, 7)),
            "conv2",
            {m: rng.normal(size=(20, 30, 3)) for m in range(5)},
        )
        for n in range(sides)
    ]
    spectra = pd.DataFrame(
        {
            "run": side.name, "layer": layer, "maps": 64, "dead": number, "low": 0.5, "high": 0.25,
            "grid": 1.25 if number else np.nan, "filters_low": 0.4, "filters_high": 0.1,
            "filters_beyond_stride": 0.125,
        }
        for side in shown
        for number, layer in enumerate(["conv1", "conv2"])
    )  # fmt: skip
    picture = rng.normal(size=(20, 30, 3))
    pairs = [Pair(("run0: conv1, map 3", "run1: conv2, map 4"), "5 in common", (picture, picture))]
    page = nets_page(shown, spectra, pairs, ["data"], 297)
    said = {text.get_text() for text in page.axes.texts}
    assert "run0: conv1, map 3" in said
    assert any("12 % beyond the stride; no map is dead" in text for text in said)
    assert any("grid 1.2 times; 1 of 64 maps are dead" in text for text in said)
    assert len(page.axes.images) == sum(len(s.filters) + 5 for s in shown) + 2
    for text in page.axes.texts:
        assert 0 <= text.get_position()[1] <= page.height
