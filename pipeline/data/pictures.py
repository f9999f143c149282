"""Single pictures that a user names: files and URLs of their own, and samples of a run."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.core.render import in_colour
from pipeline.data.decoding import decode, from_pillow, upright
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Located
from pipeline.data.store import Store
from pipeline.errors import RequestError, SampleError


@dataclass(frozen=True)
class Wanted:
    """A picture that was asked for; small, it travels to where it is worked on.

    Attributes:
        name: a path or URL, or the key of a sample.
        located: where the sample is in the run's dataset; None for a file of one's own.
        sample: its position in the dataset.
        label: the class's number, None where unknown.
        class_name: the class's name, None where unknown.
    """

    name: str
    located: Located | None = None
    sample: int | None = None
    label: int | None = None
    class_name: str | None = None

    @property
    def title(self) -> str:
        """What figures call it: the last part of its name."""
        return self.name.rstrip("/").rpartition("/")[2]

    @property
    def file_stem(self) -> str:
        """The name of its files: readable, safe anywhere, and different for every picture."""
        identity = f"{self.located.shard}\0{self.name}" if self.located else self.name
        digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        stem, _, extension = self.title.rpartition(".")
        readable = re.sub(r"[^A-Za-z0-9_-]+", "-", stem or extension).strip("-")[:60]
        return f"{readable or 'picture'}-{digest}"


@dataclass(frozen=True)
class Picture:
    """A picture as the net takes it.

    Attributes:
        wanted: what was asked for.
        image: uint8 (C, H, W).
        size: (height, width) of the original, upright if it was turned.
        is_turned: whether it was turned upright, as the EXIF block of a file of one's own said.
    """

    wanted: Wanted
    image: Tensor
    size: tuple[int, int]
    is_turned: bool = False

    @property
    def title(self) -> str:
        """What figures call it."""
        return f"{self.wanted.title}, turned upright" if self.is_turned else self.wanted.title

    @property
    def pixels(self) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        """The net's input to be looked at, (H, W, 3)."""
        return np.ascontiguousarray(in_colour(self.image.cpu().numpy()).transpose(1, 2, 0))


def read_picture(
    source: "Wanted | str | Path | Image.Image | bytes",
    preprocessing: Preprocessing,
    dataset: Dataset | None = None,
) -> Picture:
    """Read, decode, resize and crop one picture.

    A file of one's own is turned upright, as its EXIF block says; a sample of a dataset is not, as
    the nets were trained.

    Args:
        source: a path, any fsspec URL, a Pillow image, the content of a file, or what
            `find_pictures` returned.
        preprocessing: of the net.
        dataset: the run's, for its samples.

    Raises:
        RequestError: it is not there, or cannot be used.
    """
    is_turned = False
    try:
        if isinstance(source, Image.Image):
            wanted = Wanted("picture")
            pixels = from_pillow(source, preprocessing.mode)
        else:
            if isinstance(source, bytes):
                wanted, data = Wanted("The picture"), source
            else:
                wanted = source if isinstance(source, Wanted) else Wanted(str(source))
                data = _bytes(wanted, dataset)
            pixels = decode(data, preprocessing.mode)
            if wanted.located is None:
                pixels, is_turned = upright(data, pixels)
        size = (pixels.shape[1], pixels.shape[2])
        return Picture(wanted, preprocessing.prepare(pixels), size, is_turned)
    except SampleError as error:
        raise RequestError(f"{wanted.name} cannot be used: {error}.") from error


def _bytes(wanted: Wanted, dataset: Dataset | None) -> bytes:
    if wanted.located is not None:
        if dataset is None:
            raise RequestError(f"{wanted.name} is a sample of a run; its dataset is needed.")
        return next(data for _, data in dataset.fetch([wanted.located]))
    try:
        return Store(wanted.name, dataset.options if dataset else None).read("")
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(f"There is no picture {wanted.name}; check the path.") from error
    except Exception as error:  # every file system has errors of its own
        raise RequestError(
            f"{wanted.name} cannot be read: {error or type(error).__name__}."
        ) from error
