"""Pictures decoded together on a device: near libjpeg's, and usable where these are.

Without a GPU the device is the processor, with the same code around another decoder.
"""

import importlib
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.commands.mine import mine_run
from pipeline.commands.precision import require_decoder
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.batches import Decoding, Picture, Stream, batches, decode_all
from pipeline.data.demo.images import draw
from pipeline.data.nvjpeg import Together, nvjpeg, nvjpeg_if_there
from pipeline.data.samples import Sample
from pipeline.errors import RequestError
from pipeline.request import MineRequest
from tests.data.test_decoding import FORMS
from tests.data.without_ray import in_this_process

CPU = torch.device("cpu")
WAYS = (Preprocessing(40, 32), Preprocessing((36, 30), 28, kernel="pillow"))
NVJPEG = {"decoder": "nvjpeg"}
BICUBIC = Preprocessing(40, 32, interpolation="bicubic")


@pytest.fixture(scope="module")
def decoding() -> Decoding:
    return nvjpeg(CPU)


def samples_of(files: Sequence[bytes]) -> list[tuple[int, Sample]]:
    return [(at, Sample("shard", str(at), data, at)) for at, data in enumerate(files)]


def assert_near(pictures: Sequence[Picture], exact: Sequence[Picture]) -> None:
    for picture, expected in zip(pictures, exact, strict=True):
        assert replace(picture, images=()) == replace(expected, images=())
        for near, image in zip(picture.images, expected.images, strict=True):
            assert near.dtype == torch.uint8
            assert int((near.int() - image.int()).abs().max()) <= 2
            assert float((near.int() - image.int()).abs().float().mean()) < 0.3


@pytest.mark.parametrize("ways", [WAYS, (BICUBIC,), (WAYS[0], Preprocessing(40, 32, (0.5,), (1,)))])
def test_every_form_is_near_and_whole(
    ways: tuple[Preprocessing, ...], scene: Image.Image, decoding: Decoding
) -> None:
    files = [make(scene) for make in FORMS.values()]
    for data in list(files):
        files += [
            data[: len(data) // 2],
            data + bytes(30),
            data[:60],
            data.replace(b"\xff\xd9", b""),
        ]
    thin = BytesIO()
    Image.new("RGB", (2000, 1)).save(thin, "JPEG")
    samples = samples_of([*files, b"", b"text", thin.getvalue()])
    unread = Sample("shard", "unread", files[0], problem="the store is gone")
    samples.append((len(samples), unread))
    assert_near(decoding.of(samples, ways), decode_all(samples, ways))


def test_photographs_are_near(photos: dict[str, bytes], decoding: Decoding) -> None:
    samples = samples_of(list(photos.values())[:40])
    ways = [Preprocessing(256, 224)]
    assert_near(decoding.of(samples, ways), decode_all(samples, ways))


def test_which_files_go_to_the_device(scene: Image.Image) -> None:
    """Those of which libjpeg makes the same but for grey levels, and no other."""
    taken: list[int] = []

    def decode(files: list[Tensor]) -> list[Tensor]:
        taken.append(len(files))
        return [torch.zeros(3, 43, 61, dtype=torch.uint8) for _ in files]

    sent = {}
    for form, make in FORMS.items():
        taken.clear()
        Together(CPU, decode)(samples_of([make(scene)]), WAYS)
        sent[form] = sum(taken)
    expected = ("jpeg", "jpeg 4:4:4", "jpeg progressive", "jpeg with all metadata")
    assert [form for form in FORMS if sent[form]] == list(expected)


def test_one_that_cannot_be_decoded_leaves_the_others(
    scene: Image.Image, decoding: Decoding
) -> None:
    calls = []

    def decode(files: list[Tensor]) -> list[Tensor]:
        calls.append(len(files))
        if any(len(data) == len(odd) for data in files):
            raise RuntimeError("nvJPEG: unsupported")
        return [torch.full((3, 43, 61), 7, dtype=torch.uint8) for _ in files]

    usual, odd = FORMS["jpeg"](scene), FORMS["jpeg 4:4:4"](scene)
    samples = samples_of([usual] * 5 + [odd] + [usual] * 10)
    made = Together(CPU, decode)(samples, WAYS)
    assert [bool((picture.images[0] == 7).all()) for picture in made] == [
        at != 5 for at in range(16)
    ]
    assert_near(made[5:6], decode_all(samples[5:6], WAYS))
    assert calls == [16, 8, 4, 4, 2, 1, 1, 2, 8]


def test_batches_are_where_the_pictures_are(scene: Image.Image) -> None:
    device = torch.device("meta")
    there = Picture(Sample("shard", "0", b""), 0, (torch.zeros(3, 32, 32, device=device),), (9, 9))
    decoding = Decoding(lambda samples, _: [there for _ in samples], 3, device)
    made = list(batches(iter(samples_of([b""] * 7)), [Stream(WAYS[0], 4)], decoding=decoding))
    assert [(len(batch.pictures), batch.images.device) for batch in made] == [
        (4, device),
        (3, device),
    ]


def test_a_worker_that_cannot_says_why(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nvjpeg_if_there("cpu").of is decode_all
    assert "not decoded by nvJPEG (this worker has no GPU), but by libjpeg." in caplog.text
    nvjpeg.cache_clear()
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    assert nvjpeg_if_there("cuda").of is decode_all
    assert "torchcodec.decoders" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "can only screen; add --precision fast"),
        ({"precision": "fast", "gpus": "none"}, "on a GPU, and there is none"),
        ({"precision": "fast"}, "on a GPU, and there is none"),
    ],
)
def test_where_it_cannot_help_it_is_refused(
    more: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match=sentence):
        require_decoder(MineRequest.model_validate({"data": "d", "run": "r", **NVJPEG, **more}))


def test_the_winners_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoding: Decoding
) -> None:
    """Screened from other pixels: these are a grey level or two darker throughout."""
    in_this_process(monkeypatch)
    (tmp_path / "data").mkdir()
    for index in range(80):
        draw(index).image.save(tmp_path / "data" / f"{index:03}.jpg", quality=90)
    (tmp_path / "data" / "cut.jpg").write_bytes((tmp_path / "data" / "000.jpg").read_bytes()[:500])
    darkened = Together(CPU, lambda files: [_darker(data) for data in files])
    monkeypatch.setattr(
        "pipeline.cluster.stages.nvjpeg_if_there",
        lambda device: Decoding(darkened, 16, torch.device(device), "nvJPEG"),
    )
    monkeypatch.setattr("pipeline.commands.precision._has_gpu", lambda: True)
    usual = {"data": str(tmp_path / "data"), "net": "demo", "layers": ["conv1", "conv5"]}
    runs = []
    for more in ({}, {"precision": "fast", **NVJPEG}):
        place = f"memory://{uuid.uuid4().hex}"
        asked = MineRequest.model_validate({**usual, "run": place, "top_k": 2, **more})
        runs.append(mine_run(asked))
    exact, screened = runs
    pd.testing.assert_frame_equal(exact.winners(), screened.winners(), check_exact=True)
    pd.testing.assert_frame_equal(exact.skipped(), screened.skipped())
    assert (exact.feature_maps()["max"] != screened.feature_maps()["max"]).mean() < 0.05
    decoders = {made.machine.decoder for made in screened.spec.machines}
    assert decoders == {"nvJPEG", exact.spec.machines[0].machine.decoder}


def _darker(data: Tensor) -> Tensor:
    pictures = importlib.import_module("torchcodec.decoders").decode_jpeg([data])
    return (pictures[0].int() - 2).clamp_min(0).byte()
