"""The generated image set: one thing per picture, labelled, with its mask; any number of pictures.

A picture depends on nothing but its seed and its index, so any slice of the set can be drawn
anywhere, in any order. The thing's class, place, size, turn and colours are independent of one
another and of the background, so that only its form tells what it is.
"""

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.data.demo.brush import Box, Brush, Palette, Rng
from pipeline.data.demo.scene import background, composed
from pipeline.data.demo.things import THINGS

CLASS_NAMES: tuple[str, ...] = tuple(thing.name for thing in THINGS)
WEIGHTS = Path(__file__).with_name("net.safetensors")  # of core.nets.demo, by jobs.train

SIDES = (150, 210)  # the range of a picture's sides, in pixels
RADIUS = (0.29, 0.46)  # the range of a thing's radius, as a share of the shorter side


@dataclass(frozen=True)
class DemoPicture:
    """One picture and what is known about it.

    Attributes:
        image: H×W, RGB.
        mask: H×W bool, true where the thing covers at least half of the pixel.
        label: the thing's class, an index into ``CLASS_NAMES``.
        parts: of faces, where their parts are: top, left, bottom, right in pixels of the picture.
    """

    image: Image.Image
    mask: npt.NDArray[np.bool_]
    label: int
    parts: Mapping[str, Box] = field(default_factory=dict)


def draw(index: int, *, seed: int = 0, size: tuple[int, int] | None = None) -> DemoPicture:
    """Draw one picture of the set.

    Args:
        index: its position in the set, from 0; there is no end.
        seed: which set.
        size: width and height in pixels; 150 to 210 each, at random, where not given.
    """
    rng = np.random.default_rng([seed, index])
    drawn_size = rng.integers(SIDES[0], SIDES[1], 2, endpoint=True)
    width, height = size or (int(drawn_size[0]), int(drawn_size[1]))
    palette = Palette.random(rng)
    scene = background(rng, width, height)
    label = label_of(index, seed=seed)
    thing = THINGS[label]
    radius = rng.uniform(*RADIUS) * min(width, height)
    mirrored = thing.mirror and rng.random() < 0.5
    brush = Brush(radius, rng.uniform(-thing.turn, thing.turn), mirrored)
    thing.draw(brush, palette, rng)
    x, y = corner = _corner(rng, width, height, brush.side)
    pixels, mask = composed(scene, brush, corner, rng)
    parts = {
        name: (top + y, left + x, bottom + y, right + x)
        for name, (top, left, bottom, right) in brush.parts.items()
    }
    return DemoPicture(Image.fromarray(pixels), mask, label, parts)


def label_of(index: int, *, seed: int = 0) -> int:
    """The class of a picture: each run of 16 pictures has every class once, in its own order."""
    block, place = divmod(index, len(THINGS))
    return int(np.random.default_rng([seed, block, 1]).permutation(len(THINGS))[place])


def shard_bytes(indices: range, *, seed: int = 0, size: tuple[int, int] | None = None) -> bytes:
    """Some pictures as one WebDataset tar: ``.jpg``, ``.cls`` (label) and ``.mask.png`` of each.

    The same arguments give the same bytes, wherever and whenever (with one version of Pillow).
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index in indices:
            picture = draw(index, seed=seed, size=size)
            contents = {
                "jpg": _encoded(picture.image, "JPEG", quality=92),
                "cls": str(picture.label).encode(),
                "mask.png": _encoded(Image.fromarray(picture.mask), "PNG"),
            }
            for suffix, content in contents.items():
                member = tarfile.TarInfo(f"{index:08d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _corner(rng: Rng, width: int, height: int, side: int) -> tuple[int, int]:
    """Where the thing's canvas starts (x, y): in the picture's central square, by and large.

    A net sees the central square of a picture, so that is where the thing is placed; it may
    reach a little beyond.
    """
    room = max(0.0, min(width, height) - 0.88 * side) / 2
    x, y = rng.uniform(-room, room, 2)
    return round((width - side) / 2 + x), round((height - side) / 2 + y)
