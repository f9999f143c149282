"""Pictures moved, enlarged and turned, against moving pixels by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.transforms import TRANSFORMS, amounts, transformed

FILL = (10.0, 20.0, 30.0)


@pytest.fixture
def image() -> torch.Tensor:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
    return torch.from_numpy(np.array(small.resize((56, 56)))).permute(2, 0, 1)


@pytest.mark.parametrize("pixels", [-15, -1, 2, 14])
def test_a_translation_moves_pixels_down(image: torch.Tensor, pixels: int) -> None:
    wanted = torch.tensor(FILL, dtype=torch.uint8)[:, None, None].expand(3, 56, 56).clone()
    source, there = (image[:, :-pixels], wanted[:, pixels:])
    if pixels < 0:
        source, there = (image[:, -pixels:], wanted[:, :pixels])
    there.copy_(source)
    assert torch.equal(transformed(image, "translation", pixels, FILL), wanted)


def test_a_rotation_by_right_angles_turns_clockwise(image: torch.Tensor) -> None:
    for turns in (1, 2, 3):
        found = transformed(image, "rotation", 90.0 * turns, FILL)
        wanted = torch.rot90(image, -turns, (1, 2))
        assert (found.int() - wanted.int()).abs().float().mean() < 1


def test_a_scale_enlarges_the_middle(image: torch.Tensor) -> None:
    found = transformed(image, "scale", 1.75, FILL)
    middle = Image.fromarray(image.permute(1, 2, 0).numpy()).crop((12, 12, 44, 44))
    wanted = np.asarray(middle.resize((56, 56), Image.Resampling.BILINEAR)).astype(int)
    inside = (slice(4, -4), slice(4, -4))
    differ = np.abs(found.permute(1, 2, 0).numpy().astype(int) - wanted)[inside]
    assert differ.mean() < 3


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_picture_as_it_is_is_among_the_amounts(transform, image: torch.Tensor) -> None:
    steps = amounts(transform, 224)
    assert len(set(steps)) == len(steps)
    still = 1.0 if transform == "scale" else 0.0
    assert still in steps
    assert torch.equal(transformed(image, transform, still, FILL), image)
    if transform == "translation":
        assert (min(steps), max(steps)) == (-60, 60)
        assert all(step == round(step) for step in steps)
        assert amounts(transform, 12) == [-3, -2, -1, 0, 1, 2, 3]
