"""What decodes JPEGs: torchcodec, torchvision or Pillow, the first of them that is installed.

All are libjpeg-turbo and give the same bits; that each does is tried on a small picture before it
is used. The first two take two thirds of Pillow's time.
"""

import importlib
import logging
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.config import version_of

log = logging.getLogger(__name__)

JPEG = b"\xff\xd8\xff"
"""How such files start."""

_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
_SCAN, _END, _EXIF = 0xDA, 0xD9, 0xE1
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TURNED = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06" + bytes(6)
"""A segment that says that the picture lies on its side."""


@dataclass(frozen=True)
class JpegDecoder:
    """A decoder of JPEGs.

    Attributes:
        library: the package that it is from.
        fast: bytes → uint8 (3, H, W), RGB; a RuntimeError where it cannot. None leaves it to
            Pillow, which has the last word anyway.
    """

    library: str
    fast: Callable[[bytes], Tensor] | None = None

    def __str__(self) -> str:
        return f"{self.library} {version_of(self.library)}"


@cache
def jpeg_decoder() -> JpegDecoder:
    """The decoder of this process; a line of the log says why one that is installed is not used."""
    for library, make in _MAKERS.items():
        try:
            decoder = JpegDecoder(library, make())
            _require_same_pixels(decoder)
        except ModuleNotFoundError as error:
            if error.name == library:  # it is not installed
                continue
            reason = str(error)
        except Exception as error:  # of a library that does not fit torch's version
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        else:
            return decoder
        log.warning("%s is installed but does not decode JPEGs here (%s).", library, reason)
    log.warning("JPEGs are decoded by Pillow, at two thirds of the speed; install torchcodec.")
    return JpegDecoder("pillow")


def _torchcodec() -> Callable[[bytes], Tensor]:
    """From 0.16 on. It would turn a picture upright, as its EXIF block says."""
    decode = importlib.import_module("torchcodec.decoders").decode_jpeg
    return lambda data: decode(encoded(without_exif(data)))


def _torchvision() -> Callable[[bytes], Tensor]:
    """The operator itself, since `torchvision.io.decode_jpeg` warns that it will be taken away."""
    rgb = importlib.import_module("torchvision.io").ImageReadMode.RGB.value
    decode = torch.ops.image.decode_jpeg
    return lambda data: decode(encoded(data), rgb, False)


_MAKERS = {"torchcodec": _torchcodec, "torchvision": _torchvision}


def encoded(data: bytes) -> Tensor:
    """A file as decoders take it: uint8 (bytes,)."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)  # the copy: under 1 % of it


def _require_same_pixels(decoder: JpegDecoder) -> None:
    """Try it on a picture with smooth and sharp places, coarser colours, and an EXIF block.

    Raises:
        ValueError: what comes out is not what Pillow makes of it.
    """
    y, x = np.mgrid[:40, :32]
    stream = BytesIO()
    pixels = np.stack([6 * x, 6 * y, 255 * (x > y)], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", subsampling="4:2:0")
    expected = np.array(Image.open(stream))
    data = stream.getvalue()
    if decoder.fast is not None:
        decoded = decoder.fast(data[:2] + _TURNED + data[2:]).permute(1, 2, 0)
        if not np.array_equal(decoded.numpy(), expected):
            raise ValueError("its pixels are not Pillow's")


# --- segments ---------------------------------------------------------------------------------


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the first scan; the start is the marker's."""
    at = 2
    while (start := data.find(b"\xff", at)) >= 0:
        marker = data[start + 1] if start + 1 < len(data) else _END
        if marker == 0xFF:  # fill
            at = start + 1
        elif marker in _BARE or marker == 0:
            at = start + 2
        elif marker in (_SCAN, _END) or start + 4 > len(data):
            return
        else:
            at = start + 2 + int.from_bytes(data[start + 2 : start + 4])
            yield marker, start, at


class Frame(NamedTuple):
    """What a JPEG says of its pixels.

    Attributes:
        marker: how they are coded.
        precision: bits of a sample.
        height: in pixels.
        width: likewise.
        components: the number that each one is known by.
    """

    marker: int
    precision: int
    height: int
    width: int
    components: tuple[int, ...]


def frame_of(data: bytes) -> Frame | None:
    """The frame of a JPEG.

    Raises:
        struct.error: it is cut short.
    """
    for marker, start, end in segments(data):
        if marker in _FRAMES:
            frame = data[start + 4 : end]
            precision, height, width, count = struct.unpack(">BHHB", frame[:6])
            return Frame(marker, precision, height, width, tuple(frame[6::3][:count]))
    return None


def without_exif(data: bytes) -> bytes:
    """The same picture without the segments whose parsing warns."""
    pieces, at = [], 0
    for marker, start, end in segments(data):
        if marker == _EXIF:
            pieces.append(data[at:start])
            at = end
    return b"".join([*pieces, data[at:]]) if pieces else data
