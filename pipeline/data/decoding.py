"""Encoded pictures to tensors, exactly as `torchvision.datasets.ImageFolder` loads them.

The reference is its `pil_loader`: Pillow, converted to RGB (or to what else a net takes: grey, `L`,
or colours and alpha, `RGBA`). So transparency is dropped without blending where no alpha is asked
for, 16-bit greys and CMYK become what Pillow makes of them, an animation is its first frame, and
the EXIF orientation is **not** applied: nets trained on ImageNet with torchvision have seen such
photographs lying on their sides.

Of a JPEG or PNG only what makes the pixels reaches Pillow. Its warnings are about the rest (broken
EXIF blocks, animations, transparency), and warnings cannot be silenced in one thread alone.
"""

import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pipeline.core.nets.preprocessing import Mode
from pipeline.data.jpeg import JPEG, frame_of, jpeg_decoder, without_exif
from pipeline.errors import SampleError, TooLargeError, UnknownFormatError

_PNG, _RIFF = b"\x89PNG\r\n\x1a\n", b"RIFF"
_PLAIN: dict[bytes, type[ImageFile]] = {
    b"BM": BmpImageFile,
    **dict.fromkeys((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"), PpmImageFile),
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImageFile),
}
"""How the files of the formats start that Pillow reads without more ado; it reads no pixel yet."""
_PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PNG_ALPHA = b"tRNS"


def decode(data: bytes, mode: Mode = "RGB") -> torch.Tensor:
    """The picture as uint8 of shape (C, H, W); its memory may be channels-last.

    Args:
        data: the file's content.
        mode: what Pillow would convert it to.

    Raises:
        SampleError: it is empty, of no known format, damaged, or a decompression bomb.
    """
    if not data:
        raise SampleError("the file is empty")
    try:
        if data.startswith(JPEG):
            return _jpeg(data, mode)
        if data.startswith(_PNG):
            check_size(*struct.unpack(">II", data[16:24]))
            return _pixels(PngImageFile(BytesIO(_png_pixels(data, mode))), mode)
        if data.startswith(_RIFF) and data[8:12] == b"WEBP":
            check_size(*_webp_size(data))
            return _pixels(WebPImageFile(BytesIO(data)), mode)
        for start, plugin in _PLAIN.items():
            if data.startswith(start):
                return _pixels(plugin(BytesIO(data)), mode)
    except SampleError:
        raise
    except Exception as error:  # decoders raise nearly anything over damaged bytes
        raise SampleError(f"damaged or cut short: {error or type(error).__name__}") from error
    raise UnknownFormatError("not a JPEG, PNG, WebP, BMP, PPM, PGM or TIFF picture")


def upright(data: bytes, picture: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """A picture turned as the EXIF block of its file says, and whether that turned it.

    For people's own files only: they see them so. Pillow turns TIFFs by itself.

    Args:
        data: the file.
        picture: what `decode` made of it, (C, H, W).
    """
    turn = None
    if data.startswith((JPEG, _PNG, _RIFF)):
        with suppress(Exception), warnings.catch_warnings():  # of broken blocks, as everybody does
            warnings.simplefilter("ignore")
            turn = _TURNS.get(Image.open(BytesIO(data)).getexif().get(Base.Orientation, 1))
    return (picture, False) if turn is None else (turn(picture), True)


_TURNS: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {
    2: lambda picture: picture.flip(2),
    3: lambda picture: picture.flip(1, 2),
    4: lambda picture: picture.flip(1),
    5: lambda picture: picture.mT,
    6: lambda picture: picture.mT.flip(2),
    7: lambda picture: picture.mT.flip(1, 2),
    8: lambda picture: picture.mT.flip(1),
}
"""How a picture comes upright that was stored in one of EXIF's orientations."""


def check_size(width: int, height: int) -> None:
    """Refuse what Pillow refuses; from half of that on it only warns.

    Raises:
        SampleError: too many pixels, or none.
    """
    most = Image.MAX_IMAGE_PIXELS and 2 * Image.MAX_IMAGE_PIXELS
    if width < 1 or height < 1:
        raise SampleError(f"damaged: {width} × {height} pixels")
    if most is not None and width * height > most:
        raise TooLargeError(
            f"{width} × {height} = {width * height} pixels, more than {most} (decompression bomb)"
        )


def _pixels(image: Image.Image, mode: Mode) -> torch.Tensor:
    with image:
        check_size(*image.size)
        return from_pillow(image, mode)


def from_pillow(image: Image.Image, mode: Mode) -> torch.Tensor:
    """A Pillow image as `decode` returns it."""
    array = np.array(image.convert(mode))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)


# --- JPEG -------------------------------------------------------------------------------------


def _jpeg(data: bytes, mode: Mode) -> torch.Tensor:
    frame = frame_of(data)
    if frame is None:
        raise SampleError("damaged or cut short: a JPEG without a frame")
    check_size(frame.width, frame.height)
    if frame.precision == 8 and len(frame.components) in (1, 3):
        fast = jpeg_decoder().fast
        if fast is not None:
            with suppress(RuntimeError):  # Pillow has the last word
                return _converted(fast(data), mode)
    return _pixels(JpegImageFile(BytesIO(without_exif(data))), mode)


def _converted(pixels: torch.Tensor, mode: Mode) -> torch.Tensor:
    """What Pillow makes of R, G, B."""
    if mode == "RGB":
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    return from_pillow(image, mode)


# --- PNG and WebP -----------------------------------------------------------------------------


def _png_pixels(data: bytes, mode: Mode) -> bytes:
    """The same picture with only the chunks that make its pixels, alpha too if it is wanted.

    Raises:
        SampleError: one of the others before the pixels is damaged, which Pillow would refuse.
    """
    chunks, at = [_PNG], len(_PNG)
    is_before_pixels = True
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind, checksum = data[at + 4 : at + 8], data[end - 4 : end]
        is_before_pixels &= kind != b"IDAT"
        if kind in _PNG_PIXELS or (kind == _PNG_ALPHA and mode == "RGBA"):
            chunks.append(data[at:end])
        elif is_before_pixels and zlib.crc32(data[at + 4 : end - 4]).to_bytes(4) != checksum:
            raise SampleError("damaged: a chunk's checksum is wrong")
        at = end
    return b"".join(chunks)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas, before libwebp makes room for it."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return 1 + width, 1 + height
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF
