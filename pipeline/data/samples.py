"""The records that travel between reading, mining and projecting."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline.request import Mining

PICTURES = ("jpeg", "jpg", "png", "webp", "bmp", "pgm", "ppm", "tif", "tiff")
"""The extensions of pictures, in lower case: those of `torchvision.datasets.ImageFolder`."""

BYTES = 110_000
"""Of a picture in a shard, about: as ImageNet's are."""

_MOST_LABEL = 2**31 - 1

_STRANGE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST, _DIGITS = 40, 12
"""Signs of a shard's name in the name of its part, and digits that make it the only one."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where the encoded picture of one sample is."""

    shard: str
    key: str
    offset: int | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One entry of the dataset: an encoded picture, or the reason why there is none.

    Args:
        shard: the shard's full URL or path; for an image folder the folder's.
        key: the member's name in a tar, the path below an image folder, the row number of a
            Parquet file; where nothing can be named (a tar that ends between members), empty.
        data: the encoded picture; empty when it could not be read.
        label: the class's number, None where unknown.
        class_name: the class's name, None where unknown.
        offset: where the picture starts in the shard, in bytes; None unless it is a plain tar.
        length: the picture's bytes from `offset` on; None likewise.
        problem: why the picture could not be read; None when it could.
    """

    shard: str
    key: str
    data: bytes
    label: int | None = None
    class_name: str | None = None
    offset: int | None = None
    length: int | None = None
    problem: str | None = None

    @property
    def located(self) -> Located:
        """Where to fetch the picture again."""
        return Located(self.shard, self.key, self.offset, self.length)


@dataclass(frozen=True, slots=True)
class Asked:
    """How a dataset is to be read, where that is not left to its files.

    Args:
        image_column: of Parquet, the column of pictures.
        label_column: of Parquet, the column of labels.
    """

    image_column: str | None = None
    label_column: str | None = None

    @classmethod
    def by(cls, mining: Mining) -> "Asked":
        """What a request or a run says of it."""
        return cls(mining.image_column, mining.label_column)


NOTHING_ASKED = Asked()


@dataclass(frozen=True, slots=True)
class Part:
    """A unit of work: it follows from the dataset alone, never from the cluster.

    Args:
        name: of its files in a run.
        shard: what to read.
        keys: of an image folder, the files of this part; empty means the whole shard.
        sizes: of these files, or of the shard, in bytes; 0 where a store does not tell.
        row_groups: of a Parquet file, the row groups of this part; empty means the whole file.
    """

    name: str
    shard: str
    keys: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    row_groups: tuple[int, ...] = ()

    @property
    def approximate_count(self) -> int:
        """About how many pictures it has, by their number or its size."""
        return len(self.keys) or sum(self.sizes) // BYTES

    @property
    def most_classes(self) -> int:
        """About how many classes its pictures have at most: of folders as many as there are."""
        folders = {key.rpartition("/")[0] for key in self.keys}
        return self.approximate_count if folders in ({""}, set()) else len(folders)

    def of_keys(self, positions: Iterable[int]) -> "Part":
        """The same part with some of its files alone."""
        chosen = [(self.keys[position], self.sizes[position]) for position in positions]
        keys, sizes = zip(*chosen, strict=True) if chosen else ((), ())
        return replace(self, keys=tuple(keys), sizes=tuple(sizes))


def part_of_shard(shard: str, name: str, size: int, row_groups: tuple[int, ...] = ()) -> Part:
    """A part whose name follows from its shard alone, wherever that stands in the dataset.

    So shards that are added change nothing of the others, and one that was exchanged is another.

    Args:
        shard: what to read.
        name: of the shard in the dataset.
        size: of the shard, in bytes.
        row_groups: of a Parquet file, those of this part.
    """
    identity = f"{name}\0{size}\0{row_groups}".encode("utf-8", "surrogateescape")
    stem = _STRANGE.sub("_", name.rpartition("/")[2].partition(".")[0])[:_LONGEST]
    digest = hashlib.sha256(identity).hexdigest()[:_DIGITS]
    return Part(f"{stem}-{digest}", shard, sizes=(size,), row_groups=row_groups)


def numbered(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Parts that are no shards, with names that sort in their order."""
    listed = list(parts)
    digits = max(5, len(str(len(listed) - 1)))
    return tuple(
        replace(part, name=f"part-{number:0{digits}}") for number, part in enumerate(listed)
    )


def checked_label(value: object) -> tuple[int | None, str | None]:
    """A class's number or name, whichever `value` is; negative numbers mean unknown."""
    if isinstance(value, str):
        text = value.strip()
        if not (text.lstrip("-").isdecimal() and len(text) <= len(str(_MOST_LABEL))):
            return None, text or None
        value = int(text)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_LABEL:
        return value, None
    return None, None
