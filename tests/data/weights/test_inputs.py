"""Nets that take grey, alpha, or no square: from the file to projections and figures."""

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as reference
from torchvision.transforms._presets import ImageClassification

from pipeline.atlas.occlusion import maps as occlusion_maps
from pipeline.core.nets.custom import from_preset
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.decoding import decode
from pipeline.data.demo.images import draw
from pipeline.data.findings import OccludeSettings
from pipeline.data.pictures import read_picture
from pipeline.data.weights.load import load_net
from pipeline.errors import RequestError
from pipeline.stages.explain import explain_pictures
from pipeline.stages.occlude import occlude_picture, prepare
from tests.core.rules import Rules
from tests.data.without_ray import end_to_end

pytestmark = pytest.mark.usefixtures("one_thread")

MODULE = """
import dataclasses

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms._presets import ImageClassification

from pipeline.core.nets.preprocessing import Preprocessing


class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.a, self.b = nn.Conv2d(channels, 6, 5, padding=2), nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        self.maps = F.relu(self.b(F.max_pool2d(F.relu(self.a(x)), 2)))
        return self.fc(self.maps.mean((2, 3)))


def grey():
    return Net(1), ImageClassification(crop_size=32, resize_size=36, mean=(0.4,), std=(0.25,))


def alpha():
    return Net(4), Preprocessing(36, 32, [0.5, 0.4, 0.3, 0.9], [0.25, 0.2, 0.3, 0.5])


def rectangular():
    return Net(3), ImageClassification(crop_size=(48, 24), resize_size=(50, 30))


@dataclasses.dataclass
class Both:
    logits: torch.Tensor
    maps: torch.Tensor


class Several(Net):
    def __init__(self, made):
        super().__init__(3)
        self.made = made

    def forward(self, x):
        return self.made(super().forward(x), self.maps)


def as_tuple():
    return Several(lambda *both: both), Preprocessing(32, 32)


def as_dict():
    return Several(lambda out, maps: {"out": out, "maps": [maps]}), Preprocessing(32, 32)


def as_dataclass():
    return Several(Both), Preprocessing(32, 32)


def two_pictures():
    class Two(Net):
        def forward(self, left, right):
            return super().forward(left - right)
    return Two(3), Preprocessing(32, 32)


def mistaken():
    return Net(1), ImageClassification(crop_size=32)


def two_means():
    return Net(1), ImageClassification(crop_size=32, mean=(0.4, 0.4), std=(0.2, 0.2))
"""
NETS = {"grey": "L", "alpha": "RGBA", "rectangular": "RGB"}


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "inputs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("inputs", None)


def _picture() -> Image.Image:
    """A drawing that is clear in a corner and half clear in another."""
    image = draw(3).image.convert("RGBA")
    alpha = np.full((image.height, image.width), 255, np.uint8)
    alpha[:90, :90], alpha[-70:, -70:] = 0, 120
    image.putalpha(Image.fromarray(alpha))
    return image


def _file(image: Image.Image, kind: str) -> bytes:
    stream = BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pictures_are_read_as_pillow_converts_them(mode: str) -> None:
    clear, colours = _picture(), _picture().convert("RGB")
    palette = colours.quantize(16)
    palette.info["transparency"] = bytes(range(0, 256, 16))
    files = [
        _file(clear, "PNG"), _file(clear, "WEBP"), _file(colours, "JPEG"), _file(palette, "PNG"),
        _file(colours.convert("L"), "JPEG"), _file(colours.convert("CMYK"), "JPEG"),
        _file(colours, "BMP"), _file(clear.convert("LA"), "PNG"), _file(clear, "TIFF"),
    ]  # fmt: skip
    for data in files:
        opened = Image.open(BytesIO(data))
        if mode != "RGBA":
            opened.info.pop("transparency", None)  # of which Pillow would warn
        expected = np.array(opened.convert(mode))
        found = decode(data, mode).permute(1, 2, 0).numpy()  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.squeeze(), expected)


@pytest.mark.parametrize("net", NETS)
def test_the_net_gets_what_torchvision_makes_of_the_converted_picture(net: str) -> None:
    prepared = load_net(f"inputs:{net}", resize="pillow").net.preprocessing
    assert prepared.mode == NETS[net]
    for image in (_picture(), _picture().resize((20, 31))):
        converted = image.convert(prepared.mode)
        size = [prepared.resize] if isinstance(prepared.resize, int) else list(prepared.resize)
        cropped = reference.center_crop(
            reference.resize(converted, size), list(prepared.input_size)
        )
        tensor = reference.to_tensor(cropped)
        expected = reference.normalize(tensor, list(prepared.mean), list(prepared.std))
        picture = read_picture(image, prepared)
        assert torch.equal(prepared.normalise(picture.image[None])[0], expected)
        assert picture.pixels.shape == (*prepared.input_size, 3)


@pytest.mark.parametrize("net", NETS)
def test_mined_and_projected_as_autograd_does(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = end_to_end({"net": f"inputs:{net}"}, tmp_path, monkeypatch)
    own, prepared = run.net.module, run.net.preprocessing
    assert own is not None
    for row in run.winners("b").itertuples():
        picture = read_picture(str(Path(row.shard, row.key)), prepared).image
        image = prepared.normalise(picture[None]).requires_grad_()
        with Rules():
            own(image)
        at = 0, int(row.feature_map), int(row.y), int(row.x)
        maps: Tensor = own.maps
        assert float(maps[at].detach()) == pytest.approx(row.activation, rel=1e-4)
        (expected,) = torch.autograd.grad(maps[at], image, maps[at].detach())
        made = run.projections("b", at[1]).query(f"rank == {row.rank}").iloc[0]
        top, left, bottom, right = (int(made[side]) for side in ("top", "left", "bottom", "right"))
        expected = expected[0, :, top:bottom, left:right]
        found = np.frombuffer(made["projection_array"], "<f4").reshape(expected.shape)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5 * float(expected.abs().max()))
        patch = Image.open(BytesIO(made["patch"]))
        shown = picture[:, top:bottom, left:right].expand(max(3, len(picture)), -1, -1)[:3]
        np.testing.assert_array_equal(np.array(patch), shown.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("colour", [None, (200, 20, 90)])
def test_explained_and_occluded(net: str, colour: tuple[int, int, int] | None) -> None:
    made = load_net(f"inputs:{net}").net
    picture = read_picture(_picture(), made.preprocessing)
    (explanation,) = explain_pictures(made, [picture])
    assert {found.projection.shape[0] for found in explanation.found} == {len(picture.image)}
    assert explanation.patch(explanation.found[0]).shape == explanation.found[0].contrast.shape

    settings = OccludeSettings(occluder=9, stride=5, colour=colour)
    plan = prepare(made, settings)
    occluded = occlude_picture(made, plan, picture, settings)
    image = made.preprocessing.normalise(picture.image[None])
    fully = plan.measure(image[0], method="full")
    np.testing.assert_allclose(occluded.found.total, fully.total, rtol=1e-4)
    square = plan.occluded(image[0], np.array([0]), np.array([0]))[0, :, 0, 0]
    if colour is not None:
        one = read_picture(Image.new("RGB", (64, 64), colour), made.preprocessing).image
        expected = made.preprocessing.normalise(one[None])[0, :, 0, 0]
        torch.testing.assert_close(square, expected)
    else:
        assert not square.any()
    assert occlusion_maps.example(occluded).shape == (*made.preprocessing.input_size, 3)


@pytest.mark.parametrize(
    ("crop", "resize"), [(32, 40), ([32], [40]), ((48, 24), [50, 30]), ([[48, 24]], [[50, 30]])]
)
def test_sizes_of_presets(crop: object, resize: object) -> None:
    preset = ImageClassification(crop_size=0)
    preset.crop_size, preset.resize_size = crop, resize
    size = (32, 40) if "32" in str(crop) else ((48, 24), (50, 30))
    assert from_preset(preset) == Preprocessing(size[1], size[0])


@pytest.mark.parametrize("net", ["as_tuple", "as_dict", "as_dataclass"])
def test_nets_with_several_outputs_are_mined(net: str) -> None:
    made = load_net(f"inputs:{net}").net
    assert [layer.name for layer in made.graph.layers] == ["a", "b"]
    with pytest.raises(RequestError, match="tells no classes apart here"):
        prepare(made, OccludeSettings())


def test_inputs_that_fit_no_picture() -> None:
    with pytest.raises(RequestError, match="it takes more than a picture: right"):
        load_net("inputs:two_pictures")
    with pytest.raises(RequestError, match=r"expected input.* to have 1 channels, but got 3"):
        load_net("inputs:mistaken")
    with pytest.raises(RequestError, match="2 means and 2 deviations; give one of each per chann"):
        load_net("inputs:two_means")
    with pytest.raises(RequestError, match="it takes L, so that a mean of R, G, B has no meaning"):
        load_net("inputs:grey", mean=(1, 2, 3))
    with pytest.raises(RequestError, match="takes RGBA; --colour-order is for R, G, B"):
        load_net("inputs:alpha", colour_order="bgr")
