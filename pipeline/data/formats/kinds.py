"""The formats: what files of each are called, how they are read, and which one a listing is of."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.data.class_names import ClassNames
from pipeline.data.formats import folder, parquet, webdataset
from pipeline.data.formats.files import Listing
from pipeline.data.samples import Asked, Located, Part, Sample
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.request import DataFormat

log = logging.getLogger(__name__)

_OTHER_PICTURES = {"gif", "heic", "heif", "avif", "jp2", "j2k", "jxl", "jfif", "ico", "tga", "dng"}
"""Extensions of pictures that neither `torchvision.datasets.ImageFolder` reads."""


class Reader(Protocol):
    """How one format is read; small and picklable.

    A shard that is damaged or gone is an `UnreadableError`, after all that is whole.
    """

    @property
    def place(self) -> Store:
        """Any, reached as the shards are."""

    def read(self, part: Part, /) -> Iterator[Sample]:
        """The samples of a part, streamed."""

    def fetch(self, shard: str, wanted: Sequence[Located], /) -> Iterator[tuple[Located, bytes]]:
        """Some pictures of one shard again."""


@dataclass(frozen=True)
class Kind:
    """What is known of a format: what its files are called, how it is read, and in what parts."""

    files: str
    suffixes: tuple[str, ...]
    reader: Callable[[Listing, ClassNames | None, Asked], Reader]
    parts: Callable[[Listing, Any], tuple[Part, ...]]  # of such a reader
    ignores_underscores: bool = False  # `_delta_log/`, `_metadata`: no data to Spark and pandas

    def __str__(self) -> str:
        return f"{self.files} ({', '.join(self.suffixes)})"

    def of(self, listing: Listing) -> dict[str, int]:
        """Those of the files that are such."""
        files = listing.files.items()
        such = {name: size for name, size in files if listing.plain(name).endswith(self.suffixes)}
        if not (self.ignores_underscores and listing.is_folder):
            return such
        return {name: size for name, size in such.items() if not re.match(r"(.*/)?_", name)}


KINDS: dict[DataFormat, Kind] = {
    "folder": Kind("pictures", folder.SUFFIXES, folder.reader_of, folder.parts_of),
    "webdataset": Kind(
        "tar shards", webdataset.SUFFIXES, webdataset.reader_of, webdataset.parts_of
    ),
    "parquet": Kind("Parquet shards", parquet.SUFFIXES, parquet.reader_of, parquet.parts_of, True),
}


def detected(listing: Listing) -> DataFormat:
    """What the files of a listing are.

    Raises:
        RequestError: nothing that is read, or several things.
    """
    counts = {name: len(kind.of(listing)) for name, kind in KINDS.items()}
    present = [name for name, count in counts.items() if count]
    if present == ["webdataset", "parquet"] and _is_of_img2dataset(listing):
        log.info(
            "%s: %d Parquet files beside tars of the same names are passed over, as what "
            "img2dataset tells of them; --format parquet reads them instead.",
            listing.url,
            counts["parquet"],
        )
        present.remove("parquet")
    if len(present) == 1:
        return present[0]
    if not present:
        extensions = {f".{name.rpartition('.')[2]}" for name in listing.files if "." in name}
        has = ", ".join(sorted(extensions)[:5])
        raise RequestError(
            f"{listing.url} holds no images: none of {', '.join(map(str, KINDS.values()))}, "
            f"{f'only {has}' if has else 'nothing with an extension'}; "
            "check the path, or say what it is with --format."
        )
    has = " and ".join(f"{counts[name]} {KINDS[name]}" for name in present)
    raise RequestError(
        f"{listing.url} holds {has}; say which with --format {' or '.join(present)}."
    )


def _is_of_img2dataset(listing: Listing) -> bool:
    """Whether every Parquet file has a tar of its name beside it."""
    tars = {name.removesuffix(".tar") for name in KINDS["webdataset"].of(listing)}
    return tars >= {name.removesuffix(".parquet") for name in KINDS["parquet"].of(listing)}


def say_passed_over(listing: Listing) -> None:
    """One line on the pictures of formats that are not read."""
    extensions = (name.rpartition(".")[2].lower() for name in listing.files)
    counts = Counter(extension for extension in extensions if extension in _OTHER_PICTURES)
    if counts:
        log.warning(
            "%s: passed over, since pictures of these formats are not read: %s; convert them.",
            listing.url,
            ", ".join(f"{count} .{extension}" for extension, count in sorted(counts.items())),
        )
