"""JPEGs decoded on a GPU, for screening: many together, a few grey levels off libjpeg's pixels.

The certificate of screening absorbs the difference, as it does that of reduced precision; what may
be a winner is looked at again, from libjpeg's pixels. What can be used is the same: a JPEG that
nvJPEG might take for something else, or does not take, is decoded on a processor, as all other
formats are.
"""

import importlib
import logging
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from pipeline.config import version_of
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.batches import ON_PROCESSOR, Decoding, Numbered, Picture, decode_sample
from pipeline.data.decoding import check_size
from pipeline.data.jpeg import JPEG, encoded, frame_of, segments, without_exif
from pipeline.data.samples import Sample
from pipeline.errors import SampleError, first_line

log = logging.getLogger(__name__)

_AT_ONCE = 64
"""Pictures that are decoded together: enough to fill a GPU, and 40 MB of ImageNet's."""

_ENTROPY_CODED = (0xC0, 0xC1, 0xC2)
"""Frames that nvJPEG reads: baseline, extended and progressive; none with arithmetic coding."""

_YCBCR = (1, 2, 3)
"""Components as JFIF numbers them; others, and what Adobe marks, may be another colour space."""

_ADOBE, _END = 0xEE, b"\xff\xd9"
_AFTER_END = 64
"""Bytes that may follow the end of a picture; without an end it may be cut short."""

Decode = Callable[[list[Tensor]], list[Tensor]]
"""Files, (bytes,) of uint8, to pictures on the device, uint8 (3, H, W)."""


@cache
def nvjpeg(device: torch.device) -> Decoding:
    """Decoding on this device: by nvJPEG where that is a GPU.

    Raises:
        ImportError: torchcodec is not installed.
        RuntimeError: it is too old, has no nvJPEG, or does not fit torch's version.
    """
    decoders = importlib.import_module("torchcodec.decoders")
    if not hasattr(decoders, "decode_jpeg"):
        raise RuntimeError(f"torchcodec {version_of('torchcodec')} is older than 0.16")

    def decode(files: list[Tensor]) -> list[Tensor]:
        pictures: list[Tensor] = decoders.decode_jpeg(files, device=device)
        return pictures

    stream = BytesIO()
    Image.new("RGB", (32, 32)).save(stream, "JPEG")
    decode([encoded(stream.getvalue())])
    name = f"nvJPEG by torchcodec {version_of('torchcodec')}"
    return Decoding(Together(device, decode), _AT_ONCE, device, name)


def nvjpeg_if_there(device: str) -> Decoding:
    """The same on a GPU that has it, else decoding on a processor, and a line that says why."""
    try:
        if device == "cpu":
            raise RuntimeError("this worker has no GPU")
        return nvjpeg(torch.device(device))
    except (ImportError, RuntimeError) as error:
        why = first_line(error)
        log.warning("JPEGs are not decoded by nvJPEG (%s), but by libjpeg.", why)
        return ON_PROCESSOR


class Together:
    """Decodes and prepares pictures on a device, beside what a net computes there.

    Args:
        device: where to.
        decode: several JPEGs; a RuntimeError where one of them cannot be.
    """

    def __init__(self, device: torch.device, decode: Decode) -> None:
        self._device, self._decode = device, decode

    def __call__(
        self, samples: Sequence[Numbered], preprocessings: Sequence[Preprocessing]
    ) -> list[Picture]:
        """As `decode_all`, on the device."""
        colours = all(way.mode == "RGB" for way in preprocessings)
        taken = [at for at, (_, sample) in enumerate(samples) if colours and _suits(sample)]
        stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            files = [encoded(without_exif(samples[at][1].data)) for at in taken]
            decoded = dict(zip(taken, self._each(files), strict=True))
            made = [
                self._prepared(numbered, decoded.get(at), preprocessings)
                for at, numbered in enumerate(samples)
            ]
        if stream is not None:
            stream.synchronize()
        return made

    def _each(self, files: list[Tensor]) -> list[Tensor | None]:
        """Every file decoded, or None: which one it is that fails all is found by halving."""
        if not files:
            return []
        try:
            return [*self._decode(files)]
        except RuntimeError:
            middle = len(files) // 2
            return [*self._each(files[:middle]), *self._each(files[middle:])] if middle else [None]

    def _prepared(
        self, numbered: Numbered, decoded: Tensor | None, preprocessings: Sequence[Preprocessing]
    ) -> Picture:
        position, sample = numbered
        if decoded is None:
            picture = decode_sample(sample, position, preprocessings)
            there = tuple(image.to(self._device) for image in picture.images)
            return replace(picture, images=there)
        read = replace(sample, data=b"")
        try:
            images = tuple(way.prepare(decoded, nearly=True) for way in preprocessings)
        except SampleError as error:
            return Picture(read, position, problem=str(error))
        return Picture(read, position, images, (decoded.shape[1], decoded.shape[2]))


def _suits(sample: Sample) -> bool:
    """Whether it is a JPEG that nvJPEG decodes as libjpeg does, but for grey levels."""
    data = sample.data
    is_whole = data.startswith(JPEG) and data.rfind(_END, max(0, len(data) - _AFTER_END)) >= 0
    if sample.problem is not None or not is_whole:
        return False
    try:
        frame = frame_of(data)
        if frame is not None:
            check_size(frame.width, frame.height)
    except (SampleError, struct.error):
        return False
    if frame is None or frame.marker not in _ENTROPY_CODED or frame.precision != 8:
        return False
    return frame.components == _YCBCR and all(marker != _ADOBE for marker, *_ in segments(data))
