"""Image folders: ``DATA/<class>/<file>`` or flat."""

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.data.class_names import ClassNames, folder_classes
from pipeline.data.formats.files import Listing
from pipeline.data.formats.reading import Piece, changed, missing, read_files, why_unreadable
from pipeline.data.samples import PICTURES, Asked, Located, Part, Sample, numbered
from pipeline.data.store import Store

log = logging.getLogger(__name__)

SUFFIXES = tuple(f".{extension}" for extension in PICTURES)


@dataclass(frozen=True, slots=True)
class Folder:
    """Reads the files of an image folder.

    Args:
        place: the folder.
        classes: class folder, with a slash → label and name, where most pictures are below one;
            else WordNet id → label and name, for files that are named by it.
    """

    place: Store
    classes: Mapping[str, tuple[int | None, str]]

    def read(self, part: Part) -> Iterator[Sample]:
        """The files of a part; what cannot be read has a `problem`."""
        # a disk gives what there is: there, what is too short is no failure to read it
        known = [None if self.place.is_local else size for size in part.sizes]
        pieces = [Piece(key, size) for key, size in zip(part.keys, known, strict=True)]
        contents = read_files(self.place, pieces)
        for key, size, data in zip(part.keys, part.sizes, contents, strict=True):
            label, class_name = self.classes.get(_class_of(key), (None, None))
            written = key.encode("utf-8", "replace").decode()  # a disk's names can be any bytes
            problem = None if written == key else "its name is not UTF-8"
            if isinstance(data, FileNotFoundError):
                if size:  # links that lead nowhere are listed without a byte
                    raise missing(f"{part.shard}/{key}") from data
                problem, data = "it is a link that leads nowhere", b""
            if isinstance(data, BaseException):
                problem = why_unreadable(data, self.place)
                if problem is None:
                    raise data
                data = b""
            elif size and len(data) != size:
                raise changed(f"{part.shard}/{key}")
            picture = b"" if problem else data
            yield Sample(part.shard, written, picture, label, class_name, problem=problem)

    def fetch(self, shard: str, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
        """The files of some samples.

        Raises:
            MissingDataError: one of them is not found.
        """
        contents = read_files(self.place.at(shard), [Piece(located.key) for located in wanted])
        for located, data in zip(wanted, contents, strict=True):
            if isinstance(data, FileNotFoundError):
                raise missing(f"{shard}/{located.key}") from data
            if isinstance(data, BaseException):
                raise data
            yield located, data


def reader_of(listing: Listing, names: ClassNames | None, _: Asked) -> Folder:
    """The reader of the pictures that `listing` has."""
    folders, _beside = _class_folders(listing.files)
    of_folders = folder_classes(folders, names) if folders else {}
    classes = {f"{name}/": known for name, known in of_folders.items()} or _by_wnid(names)
    return Folder(listing.store, classes)


def parts_of(listing: Listing, _: Folder) -> tuple[Part, ...]:
    """The parts: some of the files each."""
    keys, sizes = tuple(listing.files), tuple(listing.files.values())
    url = listing.store.url
    folders, beside = _class_folders(keys)
    if folders and beside:
        log.warning(
            "%s: %s beside the class folders, so no class: %s.",
            url,
            "1 picture lies" if beside == 1 else f"{beside} pictures lie",
            next(key for key in keys if "/" not in key),
        )
    size = part_size(len(keys))
    starts = range(0, len(keys), size)
    return numbered(Part("", url, keys[at : at + size], sizes[at : at + size]) for at in starts)


def _class_folders(keys: Collection[str]) -> tuple[list[str], int]:
    """The class folders and how many pictures are in none; no folders where these are many.

    Of a flat folder a folder in it is no class.
    """
    below = [folder for folder, slash, _ in (key.partition("/") for key in keys) if slash]
    beside = len(keys) - len(below)
    return (sorted(set(below)) if len(below) > beside else []), beside


def _class_of(key: str) -> str:
    """The class folder of a picture, or for one that is in none, what its name starts with.

    ImageNet's training files are named so: ``n01440764_10026.JPEG``.
    """
    folder, below, _ = key.partition("/")
    return f"{folder}/" if below else key.partition("_")[0]


def _by_wnid(names: ClassNames | None) -> dict[str, tuple[int | None, str]]:
    return {wnid: (at, names.names[at]) for wnid, at in names.wnids.items()} if names else {}


def part_size(count: int) -> int:
    """Files per part: about 64 parts, of 64 to 4096 files each, in whole batches of 64."""
    size = min(4096, max(64, math.ceil(count / 64)))
    return math.ceil(size / 64) * 64
