"""From a picture to the net's input, and from boxes in the input back to the picture.

The reference is torchvision's own inference transform: resize the shorter side (or both sides),
crop the centre, scale to 0…1, subtract the mean, divide by the standard deviation. torch's kernel
takes a quarter of the time of Pillow's, which torchvision uses on Pillow's images, and is a grey
level off in few pixels; with Pillow's the net gets the same bits as from torchvision.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SampleError

if TYPE_CHECKING:  # who only looks at a run need not wait for torch, nor for Pillow
    import torch
    from torch import Tensor

Kernel = Literal["torch", "pillow"]
Mode = Literal["L", "RGB", "RGBA"]
"""What a picture is read as, in Pillow's words."""

_MODES: dict[int, Mode] = {1: "L", 3: "RGB", 4: "RGBA"}

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_MOST_LONG = 1000
"""How many times its shorter side a picture may be long; the same for all nets."""


@dataclass(frozen=True)
class Preprocessing:
    """How a net wants its pictures.

    Attributes:
        resize: pixels of the shorter side, or (height, width) where the aspect is not kept.
        crop: pixels of the square cut from the centre, or (height, width): the net's input.
        mean: of each channel on the scale 0…1; there are as many as the net takes: R, G, B, or
            grey alone, or R, G, B and alpha.
        std: likewise.
        interpolation: how the resize samples; always antialiased.
        kernel: whose code resizes; what has alpha is always resized by Pillow, which weighs
            colours by it.

    Raises:
        ValueError: there is no picture with so many channels.
    """

    resize: int | tuple[int, int]
    crop: int | tuple[int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    kernel: Kernel = "torch"

    def __post_init__(self) -> None:
        for name in ("resize", "crop", "mean", "std"):  # lists are as good
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        if self.channels not in _MODES or len(self.std) != self.channels:
            raise ValueError(
                f"its preprocessing has {len(self.mean)} means and {len(self.std)} deviations; "
                "give one of each per channel: for grey 1, for R, G, B 3, with alpha 4"
            )

    @property
    def channels(self) -> int:
        """C of the net's input."""
        return len(self.mean)

    @property
    def mode(self) -> Mode:
        """What the net's pictures are read as."""
        return _MODES[self.channels]

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) of the net's input."""
        return (self.crop, self.crop) if isinstance(self.crop, int) else self.crop

    def coloured(self, red: int, green: int, blue: int) -> tuple[float, ...]:
        """A colour, of 0 to 255 each, as the net takes it: normalised, and opaque."""
        from PIL import Image

        values = Image.new("RGB", (1, 1), (red, green, blue)).convert(self.mode).tobytes()
        return tuple(
            (value / 255 - mean) / std
            for value, mean, std in zip(values, self.mean, self.std, strict=True)
        )

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of a picture after the resize; torchvision cuts the longer side down."""
        if isinstance(self.resize, tuple):
            return self.resize
        short, long = sorted((height, width))
        longer = int(self.resize * long / short)
        return (self.resize, longer) if height <= width else (longer, self.resize)

    def _margins(self, height: int, width: int) -> tuple[int, int]:
        """Rows above and columns left of the crop; negative where the picture is smaller."""
        # torchvision halves what is cut off by rounding, but what it pads by cutting down
        top, left = (
            round((side - crop) / 2) if side >= crop else -((crop - side) // 2)
            for side, crop in zip((height, width), self.input_size, strict=True)
        )
        return top, left

    def prepare(self, picture: "Tensor", *, nearly: bool = False) -> "Tensor":
        """Resize and crop: uint8 (C, H, W) to uint8 (C, *input_size); what is missing is black.

        Args:
            picture: on a processor, or, if only `nearly` so, on any device.
            nearly: in float32 throughout, whoever's code is asked for: a grey level off.

        Raises:
            SampleError: the picture is so long and thin that its resized form would be enormous.
        """
        import torch.nn.functional as F

        size = self.resized(*picture.shape[1:])
        if max(picture.shape[1:]) > _MOST_LONG * min(picture.shape[1:]):
            raise SampleError(
                f"{picture.shape[2]}×{picture.shape[1]} pixels are too long and thin: "
                f"resized they would be {size[1]}×{size[0]}"
            )
        if size != picture.shape[1:]:
            if not nearly and (self.kernel == "pillow" or self.mode == "RGBA"):
                picture = _by_pillow(picture, size, self.interpolation)
            elif self.interpolation == "bicubic":
                picture = _bicubic(picture[None], size)[0]
            else:
                resample = _in_float32 if nearly else _bilinear
                picture = resample(picture[None], size)[0]
        top, left = self._margins(*size)
        height, width = self.input_size
        missing = max(0, height - size[0]), max(0, width - size[1])
        if any(missing):
            above, before = max(0, -top), max(0, -left)
            picture = F.pad(picture, (before, missing[1] - before, above, missing[0] - above))
            top, left = max(0, top), max(0, left)
        return picture[:, top : top + height, left : left + width]

    def normalise(self, batch: "Tensor") -> "Tensor":
        """uint8 (N, C, H, W) to what the net takes, float32, on the batch's device."""
        mean, std = (_by_channel(tuple(values), batch.device) for values in (self.mean, self.std))
        if self.kernel == "pillow":  # rounded as torchvision rounds
            return batch.float().div_(255).sub_(mean).div_(std)
        # (batch / 255 - mean) / std in two passes over the batch
        return batch.float().mul_(1 / (255 * std)).sub_(mean / std)

    def source_boxes(
        self, boxes: NDArray[np.int16], height: NDArray[np.integer], width: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Boxes of the input in the pixels of the original pictures, clipped to them.

        Args:
            boxes: (n, 4) of top, left, bottom, right.
            height: (n,) pixels of each original picture.
            width: likewise.

        Returns:
            (n, 4), in the same order.
        """
        sizes = np.stack([height, width], axis=1)
        margins, scale = self._moves(sizes)
        place = (boxes + margins) * scale
        clipped: NDArray[np.float32] = np.clip(place, 0, np.tile(sizes, 2)).astype(np.float32)
        return clipped

    def input_boxes(
        self, boxes: NDArray[np.floating], height: NDArray[np.integer], width: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """The other way: boxes of original pictures in pixels of the input, clipped to it.

        Args:
            boxes: (n, 4) of top, left, bottom, right.
            height: (n,) pixels of each original picture.
            width: likewise.

        Returns:
            (n, 4), in the same order; empty where the crop leaves nothing of a box.
        """
        margins, scale = self._moves(np.stack([height, width], axis=1))
        place: NDArray[np.float64] = np.asarray(boxes, np.float64) / scale - margins
        return np.clip(place, 0, np.tile(self.input_size, 2))

    def _moves(
        self, sizes: NDArray[np.integer]
    ) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
        """Of pictures (n, 2): where the input starts, and pixels of them for one; (n, 4) each."""
        distinct, which = np.unique(sizes, axis=0, return_inverse=True)
        resized = np.array([self.resized(*size) for size in distinct.tolist()]).reshape(-1, 2)
        margins = np.array([self._margins(*size) for size in resized.tolist()]).reshape(-1, 2)
        # twice each: (top, left) and (bottom, right)
        return np.tile(margins, 2)[which], np.tile(distinct / resized, 2)[which]


@cache
def _by_channel(values: tuple[float, ...], device: "torch.device") -> "Tensor":
    """(C, 1, 1) on a device; kept there, since to bring it there is to wait for a GPU."""
    import torch

    with torch.inference_mode(False):  # else it could be used nowhere else
        return torch.tensor(values, device=device)[:, None, None]


def _by_pillow(picture: "Tensor", size: tuple[int, int], interpolation: str) -> "Tensor":
    """uint8 (C, H, W): a Pillow image of that many channels, one being grey."""
    import torch
    from PIL import Image

    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    resized = np.array(image.resize(size[::-1], Image.Resampling[interpolation.upper()]))
    return torch.from_numpy(resized.reshape(*size, -1)).permute(2, 0, 1)


def _bilinear(picture: "Tensor", size: tuple[int, int]) -> "Tensor":
    import torch.nn.functional as F

    return F.interpolate(picture, size=size, mode="bilinear", antialias=True)


def _in_float32(
    picture: "Tensor", size: tuple[int, int], interpolation: str = "bilinear"
) -> "Tensor":
    import torch.nn.functional as F

    smooth = F.interpolate(picture.float(), size=size, mode=interpolation, antialias=True)
    return smooth.round_().clamp_(0, 255).byte()


def _bicubic(picture: "Tensor", size: tuple[int, int]) -> "Tensor":
    """Columns, then rows, as Pillow does: between them it rounds, and cuts off what overshoots.

    torch's own bicubic on uint8 rounds its weights too: some pixels come out two levels off.
    """
    for step in ((picture.shape[2], size[1]), size):
        picture = _in_float32(picture, step, "bicubic")
    return picture
