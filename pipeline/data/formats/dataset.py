"""A dataset: what it is, its parts, its samples, and the pictures of chosen ones again.

The order of a dataset is that of its shards (by name, or as a brace range counts) and of the
samples in each; of an image folder that of the paths. It does not depend on the cluster, and
every sample comes out exactly once, one that cannot be read with its `problem`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, get_args

from pipeline.data.class_names import ClassNames
from pipeline.data.formats.files import Listing, list_files, reaching
from pipeline.data.formats.folder import open_folder
from pipeline.data.formats.parquet import SUFFIXES as PARQUET_SUFFIXES
from pipeline.data.formats.parquet import open_parquet
from pipeline.data.formats.webdataset import SUFFIXES as TAR_SUFFIXES
from pipeline.data.formats.webdataset import open_webdataset
from pipeline.data.samples import PICTURES, Located, Part, Sample
from pipeline.errors import RequestError

__all__ = ["Dataset", "Format", "Located", "Part", "Reader", "Sample", "open_dataset"]

Format = Literal["folder", "webdataset", "parquet"]

_SUFFIXES: dict[Format, tuple[str, ...]] = {
    "folder": tuple(f".{extension}" for extension in PICTURES),
    "webdataset": TAR_SUFFIXES,
    "parquet": PARQUET_SUFFIXES,
}
_KINDS: dict[Format, str] = {
    "folder": f"pictures ({', '.join(PICTURES)})",
    "webdataset": f"tar shards ({', '.join(TAR_SUFFIXES)})",
    "parquet": f"Parquet shards ({', '.join(PARQUET_SUFFIXES)})",
}


class Reader(Protocol):
    """How one format is read; small and picklable."""

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
    """

    url: str
    format: Format
    fingerprint: str
    reader: Reader
    _parts: tuple[Part, ...] | None = field(default=None, repr=False, compare=False)

    def parts(self) -> list[Part]:
        """Its units of work, in the order of the dataset.

        Raises:
            RequestError: it was listed elsewhere and has changed since.
        """
        if self._parts is not None:
            return list(self._parts)
        again = open_dataset(self.url, format=self.format)
        if again.fingerprint != self.fingerprint:
            raise RequestError(f"{self.url} has changed since it was listed; start the run anew.")
        return again.parts()

    def read(self, part: Part) -> Iterator[Sample]:
        """The samples of a part, streamed in the order of the dataset.

        A picture or a shard that cannot be read gives a sample with a `problem`. What a remote
        store or the machine fails with is raised as it is, since another try may succeed.
        """
        return self.reader.read(part)

    def pick(self, part: Part, positions: Sequence[int]) -> Iterator[tuple[int, Sample]]:
        """Some samples of a part, by their positions in it, which are in rising order."""
        if part.keys:  # files of a folder: the others need not be opened
            some = replace(part, keys=tuple(part.keys[position] for position in positions))
            yield from zip(positions, self.read(some), strict=True)
            return
        wanted = set(positions)
        for position, sample in enumerate(self.read(part)):
            if position in wanted:
                yield position, sample

    def fetch(self, wanted: Iterable[Located]) -> Iterator[tuple[Located, bytes]]:
        """The encoded pictures of some samples, each once, shard by shard.

        Raises:
            IncompleteError: a picture that was there is gone.
        """
        shards: dict[str, dict[Located, None]] = {}
        for located in wanted:
            shards.setdefault(located.shard, {})[located] = None
        for shard, some in shards.items():
            yield from self.reader.fetch(shard, list(some))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_parts": None}


_OPENERS: dict[Format, Callable[[Listing, ClassNames | None], tuple[Reader, tuple[Part, ...]]]] = {
    "folder": open_folder,
    "webdataset": open_webdataset,
    "parquet": open_parquet,
}


def open_dataset(
    url: str, *, format: str | None = None, class_names: ClassNames | None = None
) -> Dataset:
    """What `url` names: a folder, one file, a glob, or a brace range.

    Args:
        url: any fsspec URL or local path.
        format: ``folder``, ``webdataset`` or ``parquet``; None detects it.
        class_names: names of the classes for where the format has none, or, if explicit, for all.

    Raises:
        RequestError: nothing is there, or nothing in it can be used.
    """
    if format is not None and format not in _SUFFIXES:
        raise RequestError(f"Unknown format {format!r}; known are {', '.join(get_args(Format))}.")
    listing = list_files(url)
    chosen = next((known for known in _SUFFIXES if known == format), None) or _detected(listing)
    listing = _only(chosen, listing)
    with reaching(listing.url):
        reader, parts = _OPENERS[chosen](listing, class_names)
    return Dataset(listing.url, chosen, _fingerprint(chosen, listing), reader, parts)


def _files(format: Format, listing: Listing) -> dict[str, int]:
    return {
        name: size
        for name, size in listing.files.items()
        if name.lower().endswith(_SUFFIXES[format])
    }


def _only(format: Format, listing: Listing) -> Listing:
    files = _files(format, listing)
    if not files and not listing.is_folder:
        files = listing.files  # named one by one, so meant, whatever their extensions
    if not files:
        raise RequestError(f"{listing.url} holds no {_KINDS[format]}; check the path.")
    return replace(listing, files=files)


def _detected(listing: Listing) -> Format:
    counts = {known: len(_files(known, listing)) for known in _SUFFIXES}
    found = [known for known, count in counts.items() if count]
    if len(found) == 1:
        return found[0]
    if not found:
        kinds = ", ".join(_KINDS.values())
        others = {f".{name.rpartition('.')[2]}" for name in listing.files if "." in name}
        has = f"only {', '.join(sorted(others)[:5])}" if others else "nothing with an extension"
        raise RequestError(
            f"{listing.url} holds no images: none of {kinds}, {has}; "
            "check the path, or say what it is with --format."
        )
    has = " and ".join(f"{counts[known]} {_KINDS[known]}" for known in found)
    raise RequestError(f"{listing.url} holds {has}; say which with --format {' or '.join(found)}.")


def _fingerprint(format: Format, listing: Listing) -> str:
    digest = hashlib.sha256(format.encode())
    for name, size in listing.files.items():
        digest.update(f"\0{name}\0{size}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
