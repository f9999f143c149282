"""The same picture twice: found however it was encoded, and no others."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from torch import Tensor

from pipeline.core.duplicates import picture_hashes, same_as
from pipeline.data.demo.images import draw

PHOTOS = sorted((Path(__file__).parents[3] / "shared" / "photos").rglob("*.JPEG"))


def pictures() -> list[Image.Image]:
    """Photographs where there are some, else drawn ones."""
    if PHOTOS:
        return [Image.open(path).convert("RGB") for path in PHOTOS[:60]]
    return [draw(number).image for number in range(60)]


def prepared(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture.resize((160, 160)))).permute(2, 0, 1)


def again(picture: Image.Image, how: str) -> Image.Image:
    if how == "jpeg":
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=30)
        return Image.open(stream)
    if how == "small":
        return picture.resize((picture.width // 2, picture.height // 2))
    if how == "bright":
        return ImageEnhance.Brightness(picture).enhance(1.3)
    return picture.convert("L").convert("RGB")


@pytest.mark.parametrize("how", ["jpeg", "small", "bright", "grey"])
def test_a_copy_is_found_and_nothing_else(how: str) -> None:
    own = pictures()
    copies = [again(picture, how) for picture in own[:20]]
    hashes = picture_hashes(torch.stack([prepared(picture) for picture in [*own, *copies]]))
    assert all(len(of) == 32 for of in hashes)
    assert same_as(hashes) == [None] * len(own) + list(range(20))


def test_the_hash_is_of_the_cosine_transform() -> None:
    """One wave alone: its bit, and no other, is above the median (which is zero)."""
    pixel = np.arange(32)
    wave = np.cos(np.pi * 3 * (pixel[:, None] + 0.5) / 32) * np.cos(np.pi * 5 * (pixel + 0.5) / 32)
    image = torch.from_numpy(np.rint(128 + 100 * wave).astype(np.uint8)).expand(1, 3, 32, 32)
    bits = np.unpackbits(np.frombuffer(picture_hashes(image)[0], np.uint8)).reshape(16, 16)
    assert bits[3, 5] == 1
    inverse = np.unpackbits(np.frombuffer(picture_hashes(255 - image)[0], np.uint8))
    assert inverse.reshape(16, 16)[3, 5] == 0


@given(st.lists(st.integers(0, 3), max_size=9))
def test_each_picture_is_as_the_first_one_that_it_repeats(numbers: list[int]) -> None:
    rng = np.random.default_rng(0)
    kinds = [rng.bytes(32) for _ in range(4)]
    found = same_as([kinds[number] for number in numbers])
    for place, number in enumerate(numbers):
        first = numbers.index(number)
        assert found[place] == (first if first < place else None)


def test_a_flat_picture_has_the_hash_of_a_flat_picture() -> None:
    flat = [torch.full((1, 3, 64, 48), level, dtype=torch.uint8) for level in (0, 90, 255)]
    assert len({picture_hashes(image)[0] for image in flat}) == 1
