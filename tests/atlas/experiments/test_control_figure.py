"""The control's figure: its lines are the means, and it says whose they are."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.atlas.experiments.control import control_page

LAYERS = [f"layer{number}" for number in range(1, 13)]


def png(side: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side // 2 + 1), (90, 128, 160)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng, likenesses, pictures = np.random.default_rng(0), [], []
    for place, layer in enumerate(LAYERS):
        for drawn in range(place + 2):
            lowest = LAYERS[place + 1 - drawn] if drawn else None
            of = {"layer": layer, "feature_map": 7, "drawn_down_to": lowest, "layers_drawn": drawn}
            pictures.append({**of, "projection": png(9), "patch": None if drawn else png(9)})
            measures = ("rank_correlation", "rank_correlation_of_magnitudes")
            for _ in range(3 if drawn else 0):
                values = {name: rng.uniform(-0.1, 1) for name in measures}
                likenesses.append({**of, **values, "structural_similarity": rng.uniform()})
    return pd.DataFrame(likenesses), pd.DataFrame(pictures)


@pytest.mark.parametrize("width", [183, 297])
def test_lines_are_means(tables, width) -> None:
    likenesses, pictures = tables
    page = control_page(likenesses, pictures, LAYERS, ["a run"], width)
    lines = [line.get_ydata() for line in page.axes.lines if len(line.get_ydata()) > 3]
    assert len(lines) >= 2 * len(LAYERS)  # of the first and second layer they are short
    last = next(line for line in lines if len(line) == len(LAYERS) + 1)
    of_layer = likenesses[likenesses["layer"] == LAYERS[-1]]
    means = of_layer.groupby("layers_drawn")["rank_correlation"].mean().to_numpy()
    steps = np.diff(last) / np.diff([1.0, *means])  # millimetres for one of the measure
    assert steps == pytest.approx(steps[0], rel=1e-6)
    assert steps[0] < 0
    texts = [text.get_text() for text in page.axes.texts]
    assert {"a run", "own weights", "down to layer1", f"{LAYERS[-1]}, map 7"} <= set(texts)
    for text in page.axes.texts:
        assert 0 <= text.get_position()[0] <= page.width
        assert 0 <= text.get_position()[1] <= page.height
    assert page.save("pdf").startswith(b"%PDF")
