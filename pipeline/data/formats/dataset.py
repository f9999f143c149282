"""A dataset: what it is, its parts, its samples, and the pictures of chosen ones again.

The order of a dataset is that of its shards (by name, or as a brace range counts) and of the
samples in each; of an image folder that of the paths. It does not depend on the cluster, and
every sample comes out exactly once, one that cannot be read with its `problem`.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

from pipeline.core.heaps.statistics import share_kept
from pipeline.data.class_names import ClassNames
from pipeline.data.formats.files import Listing, list_files
from pipeline.data.formats.kinds import KINDS, Reader, detected, say_passed_over
from pipeline.data.formats.reading import UnreadableError, as_listed, damaged, missing, until_broken
from pipeline.data.labels import LabelFile, Labels, labels_of_files, labels_of_members
from pipeline.data.samples import BYTES, NOTHING_ASKED, Asked, Located, Part, Sample
from pipeline.data.store import Options
from pipeline.errors import RequestError
from pipeline.request import DataFormat

log = logging.getLogger(__name__)


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
        listing: its files; it stays where they were listed, and so does what `parts` needs.
        labels: those of the pictures, where they are in a file of their own.
        options: of its file system.
    """

    url: str
    format: DataFormat
    fingerprint: str
    reader: Reader
    listing: Listing = field(repr=False, compare=False)
    labels: Labels | None = None
    options: Options | None = field(default=None, repr=False)

    @property
    def approximate_count(self) -> int:
        """About how many pictures it has, by its files' number or sizes."""
        files = self.listing.files
        return len(files) if self.format == "folder" else sum(files.values()) // BYTES

    @property
    def share_kept(self) -> float:
        """The share of its pictures of which all activations are kept."""
        return share_kept(self.approximate_count)

    def parts(self) -> list[Part]:
        """Its units of work, in the order of the dataset.

        Raises:
            RequestError: nothing in it can be used.
        """
        return list(self._parts)

    @cached_property
    def _parts(self) -> tuple[Part, ...]:
        with self.listing.store.reaching(self.url):
            return KINDS[self.format].parts(self.listing, self.reader)

    def read(self, part: Part) -> Iterator[Sample]:
        """The samples of a part, streamed in the order of the dataset.

        A picture or a shard that cannot be read gives a sample with a `problem`. What a remote
        store or the machine fails with is raised as it is, since another try may succeed.

        Raises:
            MissingDataError: what is there is not what was listed.
        """
        samples = until_broken(part.shard, self.reader.read(part))
        if self.format != "folder":
            shard, (size,) = self.reader.place.at(part.shard), part.sizes
            samples = as_listed(shard, size, samples)
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
        here = ("listing", "_parts")
        return {name: value for name, value in self.__dict__.items() if name not in here}


@dataclass(frozen=True)
class Found:
    """The files of a dataset, not opened yet."""

    listing: Listing
    format: DataFormat
    asked: Asked = NOTHING_ASKED

    def open(
        self, class_names: ClassNames | None = None, labels: LabelFile | None = None
    ) -> Dataset:
        """The dataset; no file is looked into, unlike by its `parts`.

        Args:
            class_names: names that the labels may have, or if explicit do have.
            labels: of the pictures, in place of the dataset's own.

        Raises:
            RequestError: these labels cannot be those of its pictures.
        """
        listing, format = self.listing, self.format
        reader = KINDS[format].reader(listing, class_names, self.asked)
        own = None if labels is None else _labels(labels, format, listing, class_names)
        options = listing.store.options
        return Dataset(listing.url, format, self.fingerprint, reader, listing, own, options)

    @cached_property
    def fingerprint(self) -> str:
        """That of the dataset."""
        digest = hashlib.sha256(self.format.encode())
        for name, size in self.listing.files.items():
            digest.update(f"\0{name}\0{size}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def open_dataset(
    url: str,
    *,
    format: DataFormat | None = None,
    class_names: ClassNames | None = None,
    asked: Asked = NOTHING_ASKED,
    labels: LabelFile | None = None,
    options: Options | None = None,
) -> Dataset:
    """What `url` names; as `find_dataset`, opened and looked into.

    Raises:
        RequestError: nothing is there, or nothing in it can be used.
    """
    found = find_dataset(url, format=format, asked=asked, options=options)
    dataset = found.open(class_names, labels)
    dataset.parts()
    return dataset


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
    chosen = format or detected(listing)
    kind = KINDS[chosen]
    files = kind.of(listing)
    if not files and not listing.is_folder:
        files = listing.files  # named one by one, so meant, whatever their extensions
    if not files:
        raise RequestError(f"{listing.url} holds no {kind}; check the path.")
    if chosen == "folder":
        say_passed_over(listing)
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
