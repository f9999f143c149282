"""A dataset: what it is, its parts, its samples, and the pictures of chosen ones again.

The order of a dataset is that of its shards (by name, or as a brace range counts) and of the
samples in each; of an image folder that of the paths. It does not depend on the cluster, and
every sample comes out exactly once, one that cannot be read with its `problem`.
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from pipeline.data.class_names import ClassNames
from pipeline.data.formats import folder, parquet, webdataset
from pipeline.data.formats.files import Listing, list_files
from pipeline.data.formats.reading import UnreadableError, damaged, missing, until_broken
from pipeline.data.labels import LabelFile, Labels, labels_of_files, labels_of_members
from pipeline.data.samples import NOTHING_ASKED, Asked, Located, Part, Sample
from pipeline.data.store import Options
from pipeline.errors import RequestError
from pipeline.request import DataFormat

log = logging.getLogger(__name__)

_OTHER_PICTURES = {"gif", "heic", "heif", "avif", "jp2", "j2k", "jxl", "jfif", "ico", "tga", "dng"}
"""Extensions of pictures that neither `torchvision.datasets.ImageFolder` reads."""


class Reader(Protocol):
    """How one format is read; small and picklable.

    A shard that is damaged or gone is an `UnreadableError`, after all that is whole.
    """

    def read(self, part: Part, /) -> Iterator[Sample]:
        """The samples of a part, streamed."""

    def fetch(self, shard: str, wanted: Sequence[Located], /) -> Iterator[tuple[Located, bytes]]:
        """Some pictures of one shard again."""


@dataclass(frozen=True)
class Dataset:
    """An image folder, WebDataset tars or Parquet files, anywhere.

    Small wherever it is sent: the list of its files stays behind, and parts name what they need.

    Args:
        url: `DATA`; a local path made absolute.
        format: what it is.
        fingerprint: SHA-256, in hex, of the format and of every file's name below `DATA` and
            size: the same for a copy elsewhere.
        reader: how it is read.
        asked: what of this was said and not found.
        labels: those of the pictures, where they are in a file of their own.
        options: of its file system.
    """

    url: str
    format: DataFormat
    fingerprint: str
    reader: Reader
    asked: Asked = NOTHING_ASKED
    labels: Labels | None = None
    options: Options | None = field(default=None, repr=False)
    _parts: tuple[Part, ...] | None = field(default=None, repr=False, compare=False)

    def parts(self) -> list[Part]:
        """Its units of work, in the order of the dataset.

        Raises:
            RequestError: it was listed elsewhere and has changed since.
        """
        if self._parts is not None:
            return list(self._parts)
        again = open_dataset(self.url, format=self.format, asked=self.asked, options=self.options)
        if again.fingerprint != self.fingerprint:
            raise RequestError(f"{self.url} has changed since it was listed; start the run anew.")
        return again.parts()

    def read(self, part: Part) -> Iterator[Sample]:
        """The samples of a part, streamed in the order of the dataset.

        A picture or a shard that cannot be read gives a sample with a `problem`. What a remote
        store or the machine fails with is raised as it is, since another try may succeed.
        """
        samples = until_broken(part.shard, self.reader.read(part))
        return samples if self.labels is None else self.labels.put_on(samples, part.name)

    def pick(self, part: Part, positions: Sequence[int]) -> Iterator[tuple[int, Sample]]:
        """Some samples of a part, by their positions in it, which are in rising order."""
        if part.keys:  # files of a folder: the others need not be opened
            picked = part.of_keys(positions)
            yield from zip(positions, self.read(picked), strict=True)
            return
        wanted, stop = set(positions), max(positions, default=-1) + 1
        for position, sample in enumerate(islice(self.read(part), stop)):
            if position in wanted:
                yield position, sample

    def fetch(self, wanted: Iterable[Located]) -> Iterator[tuple[Located, bytes]]:
        """The encoded pictures of some samples, each once, shard by shard.

        Raises:
            IncompleteError: a picture that was there is gone or damaged.
        """
        shards: dict[str, dict[Located, None]] = {}
        for located in wanted:
            shards.setdefault(located.shard, {})[located] = None
        for shard, pictures in shards.items():
            try:
                yield from self.reader.fetch(shard, list(pictures))
            except FileNotFoundError as error:
                raise missing(shard) from error
            except UnreadableError as error:
                raise damaged(shard, error) from error

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_parts": None}


@dataclass(frozen=True)
class _Kind:
    """What is known of a format: what its files are called, and how a dataset is opened."""

    files: str
    suffixes: tuple[str, ...]
    open: Callable[[Listing, ClassNames | None, Asked], tuple[Reader, tuple[Part, ...]]]
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


_KINDS: dict[DataFormat, _Kind] = {
    "folder": _Kind("pictures", folder.SUFFIXES, folder.open_folder),
    "webdataset": _Kind("tar shards", webdataset.SUFFIXES, webdataset.open_webdataset),
    "parquet": _Kind("Parquet shards", parquet.SUFFIXES, parquet.open_parquet, True),
}


@dataclass(frozen=True)
class Found:
    """The files of a dataset that is there, not opened yet."""

    listing: Listing
    format: DataFormat
    asked: Asked = NOTHING_ASKED

    def open(
        self, class_names: ClassNames | None = None, labels: LabelFile | None = None
    ) -> Dataset:
        """The dataset.

        Args:
            class_names: names that the labels may have, or if explicit do have.
            labels: of the pictures, in place of the dataset's own.

        Raises:
            RequestError: nothing in it can be used.
        """
        listing, format = self.listing, self.format
        with listing.store.reaching(listing.url):
            reader, parts = _KINDS[format].open(listing, class_names, self.asked)
        fingerprint = _fingerprint(format, listing)
        own = None if labels is None else _labels(labels, format, listing, class_names)
        options = listing.store.options
        return Dataset(listing.url, format, fingerprint, reader, self.asked, own, options, parts)


def open_dataset(
    url: str,
    *,
    format: DataFormat | None = None,
    class_names: ClassNames | None = None,
    asked: Asked = NOTHING_ASKED,
    labels: LabelFile | None = None,
    options: Options | None = None,
) -> Dataset:
    """What `url` names; as `find_dataset`, and opened.

    Raises:
        RequestError: nothing is there, or nothing in it can be used.
    """
    found = find_dataset(url, format=format, asked=asked, options=options)
    return found.open(class_names, labels)


def find_dataset(
    url: str,
    *,
    format: DataFormat | None = None,
    asked: Asked = NOTHING_ASKED,
    options: Options | None = None,
) -> Found:
    """What `url` names: a folder, one file, a glob, or a brace range.

    Args:
        url: any fsspec URL or local path.
        format: what it is; None detects it.
        asked: what else is said of it.
        options: of its file system.

    Raises:
        RequestError: nothing is there, or nothing that is data.
    """
    listing = list_files(url, options)
    chosen = format or _detected(listing)
    kind = _KINDS[chosen]
    files = kind.of(listing)
    if not files and not listing.is_folder:
        files = listing.files  # named one by one, so meant, whatever their extensions
    if not files:
        raise RequestError(f"{listing.url} holds no {kind}; check the path.")
    if chosen == "folder":
        _say_passed_over(listing)
    if chosen != "parquet" and (asked.image_column or asked.label_column):
        raise RequestError(
            f"{listing.url} holds {kind}, which have no columns; leave out --image-column and "
            "--label-column."
        )
    return Found(replace(listing, files=files), chosen, asked)


def _labels(
    file: LabelFile, format: DataFormat, listing: Listing, names: ClassNames | None
) -> Labels:
    match format:
        case "folder":
            return labels_of_files(file, list(listing.files), names)
        case "webdataset":
            return labels_of_members(file, names)
    raise RequestError(
        f"{listing.url} is Parquet, whose labels are a column: name it with --label-column, and "
        "leave out --labels."
    )


def _say_passed_over(listing: Listing) -> None:
    """One line on the pictures of formats that are not read."""
    extensions = (name.rpartition(".")[2].lower() for name in listing.files)
    counts = Counter(extension for extension in extensions if extension in _OTHER_PICTURES)
    if counts:
        log.warning(
            "%s: passed over, since pictures of these formats are not read: %s; convert them.",
            listing.url,
            ", ".join(f"{count} .{extension}" for extension, count in sorted(counts.items())),
        )


def _detected(listing: Listing) -> DataFormat:
    counts = {name: len(kind.of(listing)) for name, kind in _KINDS.items()}
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
            f"{listing.url} holds no images: none of {', '.join(map(str, _KINDS.values()))}, "
            f"{f'only {has}' if has else 'nothing with an extension'}; "
            "check the path, or say what it is with --format."
        )
    has = " and ".join(f"{counts[name]} {_KINDS[name]}" for name in present)
    raise RequestError(
        f"{listing.url} holds {has}; say which with --format {' or '.join(present)}."
    )


def _is_of_img2dataset(listing: Listing) -> bool:
    """Whether every Parquet file has a tar of its name beside it."""
    tars = {name.removesuffix(".tar") for name in _KINDS["webdataset"].of(listing)}
    return tars >= {name.removesuffix(".parquet") for name in _KINDS["parquet"].of(listing)}


def _fingerprint(format: DataFormat, listing: Listing) -> str:
    digest = hashlib.sha256(format.encode())
    for name, size in listing.files.items():
        digest.update(f"\0{name}\0{size}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
