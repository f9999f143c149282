"""Pictures of every format that is read: pixels, or a reason."""

import io
import random
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.data.decoding import decode, upright
from pipeline.errors import SampleError
from tests.fuzz.mutation import Outcome, mutated, require, require_sentence

_MODES = ("RGB", "L", "RGBA", "P", "1", "CMYK", "I;16", "LA")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
_LARGE = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 60_000)


class Pictures:
    """Small pictures of noise and of one colour, in every mode that a format has."""

    def __init__(self, _: Path) -> None:
        dice = random.Random("pictures")
        torch.set_num_threads(1)
        made = [_picture(mode, kind, dice) for mode in _MODES for kind in _FORMATS * 3]
        self._corpus = [data for data in made if data]

    def try_one(self, dice: random.Random) -> Outcome:
        """One mutated picture, one in five with another size in its header."""
        data = dice.choice(self._corpus)
        data = _resized(data, dice) if dice.random() < 0.2 else mutated(data, dice, self._corpus)
        try:
            picture = decode(data)
        except SampleError as error:
            require_sentence(str(error))
            return Outcome.SKIPPED
        require(picture.dtype == torch.uint8 and picture.dim() == 3, "no uint8 (3, H, W)")
        require(picture.shape[0] == 3 and picture.numel() > 0, f"shape {tuple(picture.shape)}")
        upright(data, picture)
        return Outcome.USABLE


def _picture(mode: str, kind: str, dice: random.Random) -> bytes | None:
    size = (dice.randint(1, 40), dice.randint(1, 40))
    noise = np.frombuffer(dice.randbytes(size[0] * size[1] * 3), np.uint8)
    image = Image.fromarray(noise.reshape(size[1], size[0], 3)).convert(
        "L" if mode == "I;16" else mode
    )
    image = image.convert(mode) if mode == "I;16" else image
    exif = Image.Exif()
    exif[0x112] = dice.randint(1, 8)
    options: dict[str, object] = {
        "JPEG": {"progressive": dice.random() < 0.5, "exif": exif, "quality": 80},
        "PNG": {"exif": exif},
        "WEBP": {"lossless": dice.random() < 0.5, "exif": exif},
        "TIFF": {
            "compression": dice.choice((None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits"))
        },
    }.get(kind, {})
    stream = io.BytesIO()
    try:
        image.save(stream, kind, **options)
    except (OSError, ValueError, KeyError):
        return None  # a format has not every mode
    return stream.getvalue()


def _resized(data: bytes, dice: random.Random) -> bytes:
    """The same with any width and height where its format has them."""
    width, height = dice.choice(_LARGE), dice.choice(_LARGE)
    changed = bytearray(data)
    if data.startswith(b"\x89PNG"):
        changed[16:24] = struct.pack(">II", width, height)
    elif data.startswith(b"BM"):
        changed[18:26] = struct.pack("<II", width, height)
    elif data.startswith(b"RIFF"):
        changed[24:30] = dice.randbytes(6)
    elif data.startswith((b"P4", b"P5", b"P6")):
        return data[:2] + f"\n{width} {height}\n255\n".encode() + data[15:]
    elif data.startswith(b"\xff\xd8"):
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            at = data.find(marker)
            if at >= 0:
                changed[at + 5 : at + 9] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    else:  # a TIFF's directory: tag, type, count, value
        for tag, value in ((b"\0\1", width), (b"\1\1", height)):
            at = data.find(tag)
            if at >= 0:
                changed[at + 8 : at + 12] = struct.pack("<I", value)
    return bytes(changed)
