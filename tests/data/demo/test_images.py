"""The generated set: the same everywhere, evenly labelled, its masks true, its colours mute."""

import hashlib
import io
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from pipeline.data.demo.brush import FINE, Brush, oklch
from pipeline.data.demo.images import CLASS_NAMES, draw, label_of, shard_bytes
from pipeline.data.demo.scene import background, composed

CLASSES = len(CLASS_NAMES)


def digest(index: int, seed: int = 0) -> str:
    picture = draw(index, seed=seed)
    content = picture.image.tobytes() + picture.mask.tobytes() + bytes([picture.label])
    return hashlib.sha256(content).hexdigest()


def test_a_picture_depends_on_seed_and_index_alone() -> None:
    forwards = [digest(i) for i in range(20)]
    backwards = [digest(i) for i in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 20
    assert digest(3, seed=1) != digest(3, seed=0)


def test_another_process_writes_the_same_shard() -> None:
    code = (
        "import hashlib; from pipeline.data.demo.images import shard_bytes;"
        "print(hashlib.sha256(shard_bytes(range(5, 15), seed=7)).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert other == hashlib.sha256(shard_bytes(range(5, 15), seed=7)).hexdigest()


@pytest.mark.parametrize("start", [0, 16, 1_000_000 - 1_000_000 % CLASSES])
def test_every_class_once_in_each_run_of_pictures(start: int) -> None:
    labels = [label_of(i) for i in range(start, start + CLASSES)]
    assert sorted(labels) == list(range(CLASSES))
    assert labels != [label_of(i, seed=1) for i in range(start, start + CLASSES)]
    assert draw(start).label == labels[0]


def test_class_names_are_distinct_words() -> None:
    assert len(set(CLASS_NAMES)) == CLASSES >= 12
    assert all(name.isalpha() and name.islower() for name in CLASS_NAMES)


def test_masks_are_of_the_picture_and_of_a_sane_size() -> None:
    shares = []
    for index in range(10 * CLASSES):
        picture = draw(index)
        assert picture.image.mode == "RGB"
        assert picture.mask.dtype == np.bool_
        assert picture.mask.shape == (picture.image.height, picture.image.width)
        assert 150 <= min(picture.image.size) <= max(picture.image.size) <= 210
        shares.append(picture.mask.mean())
    assert 0.02 < min(shares) < max(shares) < 0.75
    assert 0.15 < np.mean(shares) < 0.4


def test_the_central_square_holds_the_thing() -> None:
    held = []
    for index in range(10 * CLASSES):
        mask = draw(index).mask
        (height, width), side = mask.shape, min(mask.shape)
        top, left = (height - side) // 2, (width - side) // 2
        held.append(mask[top : top + side, left : left + side].sum() / mask.sum())
    assert min(held) > 0.6
    assert np.mean(held) > 0.95


def test_the_mask_is_where_the_thing_changed_the_picture() -> None:
    """The same scene without the thing differs inside the mask, and outside only by the shadow."""
    rng = np.random.default_rng
    scene = background(rng(1), 180, 160)
    brush = Brush(50, 0.3)
    brush.disc(0, 0, 0.9, (255, 0, 255))
    brush.disc(0, 0, 0.3, None)
    with_thing, mask = composed(scene, brush, (20, 10), rng(2))
    without, nothing = composed(scene, Brush(50, 0.3), (20, 10), rng(2))
    assert not nothing.any()
    y, x = np.mgrid[:160, :180]
    distance = np.hypot(x + 0.5 - 20 - brush.side / 2, y + 0.5 - 10 - brush.side / 2)
    ring = (distance < 45) & (distance > 15)
    on_an_edge = (np.abs(distance - 45) < 1) | (np.abs(distance - 15) < 1)
    assert np.array_equal(mask | on_an_edge, ring | on_an_edge)
    far = distance > 75
    assert np.abs(with_thing.astype(int) - without)[far].max() <= 1
    changed = np.abs(with_thing.astype(int) - without).max(axis=2) > 12
    assert changed[mask].mean() > 0.99


def test_a_thing_may_reach_out_of_the_picture() -> None:
    brush = Brush(40, 0)
    brush.disc(0, 0, 1, (200, 10, 10))
    scene = Image.new("RGB", (90, 70))
    _, mask = composed(scene, brush, (60, -30), np.random.default_rng(0))
    assert mask.shape == (70, 90)
    assert mask[0, -1]
    assert not mask[:, :50].any()


def test_photograph_sizes() -> None:
    picture = draw(4, size=(500, 375))
    assert picture.image.size == (500, 375)
    assert picture.mask.shape == (375, 500)
    assert picture.label == draw(4).label
    assert 0.02 < picture.mask.mean() < 0.6


def test_colour_does_not_tell_the_class() -> None:
    """The nearest class mean of the things' average colours guesses little better than chance."""
    pictures = [draw(i) for i in range(40 * CLASSES)]
    colours = np.array([np.asarray(p.image)[p.mask].mean(axis=0) for p in pictures])
    labels = np.array([p.label for p in pictures])
    learn, test = slice(0, None, 2), slice(1, None, 2)
    means = np.array([colours[learn][labels[learn] == c].mean(axis=0) for c in range(CLASSES)])
    guesses = np.linalg.norm(colours[test][:, None] - means, axis=2).argmin(axis=1)
    assert (guesses == labels[test]).mean() < 3 / CLASSES


def test_a_shard_is_a_webdataset_tar() -> None:
    with tarfile.open(fileobj=io.BytesIO(shard_bytes(range(3, 6), seed=2))) as tar:
        names = tar.getnames()
        contents = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
        assert all(member.mtime == 0 for member in tar)
    assert names == [f"{i:08d}.{s}" for i in (3, 4, 5) for s in ("jpg", "cls", "mask.png")]
    for index in (3, 4, 5):
        picture = draw(index, seed=2)
        stored = Image.open(io.BytesIO(contents[f"{index:08d}.jpg"]))
        assert (stored.format, stored.mode, stored.size) == ("JPEG", "RGB", picture.image.size)
        error = np.abs(np.asarray(stored, int) - np.asarray(picture.image, int)).mean()
        assert error < 6
        assert int(contents[f"{index:08d}.cls"]) == picture.label
        mask = np.asarray(Image.open(io.BytesIO(contents[f"{index:08d}.mask.png"])), bool)
        assert np.array_equal(mask, picture.mask)


def test_oklch_reaches_the_corners_of_srgb() -> None:
    assert oklch(1, 0, 0) == (255, 255, 255)
    assert oklch(0, 0, 0) == (0, 0, 0)
    red, green, blue = oklch(0.62796, 0.25768, np.deg2rad(29.2339))  # CSS Color 4's sRGB red
    assert red >= 254
    assert max(green, blue) <= 6


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2])
def test_a_brush_turns_clockwise_and_keeps_sizes(angle: float) -> None:
    brush = Brush(30, angle)
    brush.disc(0.8, 0, 0.15, (255, 255, 255))
    paint, cover = brush.finished()
    y, x = np.mgrid[: brush.side, : brush.side] + 0.5 - brush.side / 2
    centre = (cover * x).sum() / cover.sum(), (cover * y).sum() / cover.sum()
    assert centre == pytest.approx((24 * np.cos(angle), 24 * np.sin(angle)), abs=1 / FINE)
    assert cover.sum() == pytest.approx(np.pi * 4.5**2, rel=0.15)
    assert paint[..., 0] == pytest.approx(255 * cover, abs=2)


def test_a_mirrored_brush_swaps_left_and_right() -> None:
    plain, mirrored = Brush(30, 0), Brush(30, 0, mirror=True)
    for brush in (plain, mirrored):
        brush.disc(0.7, -0.2, 0.2, (255, 255, 255))
    difference = plain.finished()[1] - mirrored.finished()[1][:, ::-1]
    assert np.abs(difference).sum() < 0.15 * plain.finished()[1].sum()
