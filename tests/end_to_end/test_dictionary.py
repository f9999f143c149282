"""The README's way to mine the features of a sparse autoencoder, against features by hand."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from pipeline.core.nets.custom import from_preset
from pipeline.data.demo.images import draw
from pipeline.data.pictures import read_picture
from tests.data.without_ray import end_to_end

README = Path(__file__).parents[2] / "README.md"
FEATURES, PICTURES = 12, 10

pytestmark = pytest.mark.usefixtures("one_thread")


def readme_code() -> str:
    """The block of code that begins with the name of its file."""
    (block,) = re.findall(r"(    # dictionary\.py\n(?:    .*\n|\n)+)", README.read_text())
    return textwrap.dedent(block)


def trained(activations: Tensor) -> dict[str, Tensor]:
    """A sparse autoencoder after some steps, on (n, channels)."""
    torch.manual_seed(0)
    channels = activations.shape[1]
    w_enc, b_enc = torch.randn(FEATURES, channels) / channels**0.5, torch.zeros(FEATURES)
    parts = [w_enc, b_enc, w_enc.T.clone(), activations.mean(0)]
    for part in parts:
        part.requires_grad_()
    steps = torch.optim.Adam(parts, 0.01)
    for _ in range(60):
        codes = F.relu((activations - parts[3]) @ parts[0].T + parts[1])
        loss = (codes @ parts[2].T + parts[3] - activations).square().mean() + 1e-3 * codes.mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
    w_enc, b_enc, _, b_dec = (part.detach() for part in parts)
    return {"W_enc": w_enc, "b_enc": b_enc, "b_dec": b_dec}


def test_features_of_a_dictionary_are_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    alexnet = torchvision.models.alexnet()  # for want of a download
    monkeypatch.setattr("torchvision.models.alexnet", lambda **_: alexnet)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dictionary.py").write_text(readme_code())
    images = torch.stack([_prepared(number) for number in range(PICTURES)])
    with torch.no_grad():
        maps = alexnet.eval().features[:8](images)
    activations = maps.permute(0, 2, 3, 1).flatten(0, 2)
    sae = trained(activations)
    torch.save(sae, "sae.pt")

    asked = {"net": "dictionary:make", "layers": ["dictionary"]}
    run = end_to_end(asked, tmp_path, monkeypatch, PICTURES)

    codes = F.relu((activations - sae["b_dec"]) @ sae["W_enc"].T + sae["b_enc"])
    by_picture = codes.view(PICTURES, -1, FEATURES).amax(1).numpy()
    winners = run.winners("dictionary")
    assert run.feature_maps()["feature_map"].tolist() == list(range(FEATURES))
    for number, rows in winners.groupby("feature_map"):
        expected = by_picture[:, int(str(number))]
        order = np.argsort(-expected, kind="stable")[: len(rows)]
        np.testing.assert_allclose(rows["activation"], expected[order], rtol=1e-4)
        assert rows["sample"].tolist() == order.tolist()
    live = int((by_picture.max(0) > 0).sum())
    assert live >= 2
    assert winners["feature_map"].nunique() == live
    some = winners["feature_map"].iloc[0]
    assert len(run.projections("dictionary", int(some))) == 2


def _prepared(number: int) -> Tensor:
    way = from_preset(torchvision.models.AlexNet_Weights.IMAGENET1K_V1.transforms())
    return way.normalise(read_picture(draw(number).image, way).image[None])[0]
