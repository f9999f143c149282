"""The files of a dataset: named by a folder, a glob, a brace range or one path; and listed."""

import logging
import os
import re
import stat
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from pipeline import schema
from pipeline.data.store import Options, Store, without_signature
from pipeline.errors import RequestError

_BRACE = re.compile(r"\{(\d+)\.\.(\d+)(?:\.\.(\d+))?\}|\{([^{}]*,[^{}]*)\}")
_GLOB = re.compile(r"[*?[]")
_PATTERN = re.compile(f"{_BRACE.pattern}|{_GLOB.pattern}")
_TAR = re.compile(r"\.(tar|tar\.gz|tgz)$", re.IGNORECASE)
_OF_HADOOP = {"_temporary", "_delta_log", "_spark_metadata", "_SUCCESS", "_metadata"}
_MOST_NAMES = 1_000_000
_AT_ONCE = 16  # requests for the sizes of listed shards


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """What `DATA` names.

    Args:
        url: `DATA`; a local path made absolute, since workers have other current folders.
        store: the folder that the names start from.
        files: name → bytes, in the order of the dataset.
        is_folder: whether `DATA` is a folder, so that other files may lie in it too.
    """

    url: str
    store: Store
    files: dict[str, int]
    is_folder: bool

    def shard(self, name: str) -> str:
        """The full URL or path of a file."""
        return f"{self.store.url.rstrip('/')}/{name}"

    def unsigned(self, name: str) -> str:
        """The name of a file without what signs its URL."""
        if "?" not in name:  # as of nearly all; there may be a million
            return name
        return name[: len(without_signature(self.shard(name))) - len(self.shard(""))]

    def plain(self, name: str) -> str:
        """The same in lower case."""
        return self.unsigned(name).lower()


def list_files(url: str, options: Options | None = None) -> Listing:
    """The files of `url`: a folder's in order of their names, a brace range's as it counts.

    Args:
        url: what is asked for.
        options: of its file system.

    Raises:
        RequestError: nothing is there, it cannot be listed, or a member of a brace range lacks.
    """
    if pieces := _joined(url):
        return _union([list_files(piece, options) for piece in pieces])
    store = Store(url, options)
    url = store.path() or "/" if store.is_local else store.url
    place = without_signature(url)
    signature = url[len(place) :]
    pattern = _PATTERN.search(place)
    fixed = place[: pattern and pattern.start()].rpartition("/")[0]  # the folder that is no pattern
    if pattern and fixed.endswith(":/"):
        raise RequestError(f"{url}: the bucket cannot be a pattern; name one bucket.")
    with store.reaching(url):
        kind = _kind(store)
        if kind == "directory":
            if store.is_local:
                files = dict(sorted(_walk(store.path(), "", {_place(Path(url).stat())})))
            else:
                files = store.list()
            files = {name: size for name, size in files.items() if not _is_hidden(name)}
            files = _without_runs(url, files)
            return Listing(url, store.at(url), files, is_folder=True)
        if kind is not None:
            folder, _, name = place.rpartition("/")
            return _named(url, store.at(folder), [name + signature])
        if pattern:
            names = _matching(place, store.at(fixed))
            return _named(url, store.at(fixed), [name + signature for name in names])
    check = "or the signature" if signature else "or the bucket's name"
    raise RequestError(f"{url} does not exist; check the path {check}.")


# --- listing ----------------------------------------------------------------------------------


def _kind(store: Store) -> str | None:
    info = store.info()
    if info is None:
        return None
    if not store.is_local and info["type"] == "file" and not info["size"] and store.list():
        return "directory"  # some consoles put an empty object that is named like the folder
    return str(info["type"])


def _is_hidden(name: str) -> bool:
    """Whether a file is hidden, or unfinished or no data in the eyes of Spark and Hadoop."""
    parts = name.split("/")
    return any(part.startswith(".") or part in _OF_HADOOP for part in parts)


def _without_runs(url: str, files: dict[str, int]) -> dict[str, int]:
    """The files without those of this project's own runs, which may lie in the folder too."""
    folders = (name[: -len(schema.RUN)] for name in files if name.endswith(f"/{schema.RUN}"))
    results = tuple(
        f"{name}/" for name in (schema.HEAPS, schema.SCREEN, schema.STATISTICS, schema.SKIPPED)
    )
    runs = tuple(
        folder
        for folder in folders
        if any(name.startswith(tuple(folder + result for result in results)) for name in files)
    )
    if runs:
        log.info("%s: left out, since they are runs: %s", url, ", ".join(runs))
    return {name: size for name, size in files.items() if not name.startswith(runs)}


def _joined(url: str) -> list[str]:
    """The pieces of ``a.tar::b.tar``, as the webdataset library has it; else none.

    fsspec's own chains (``tar://x.jpg::a.tar``, ``simplecache::s3://…``) are not such.
    """
    pieces = url.split("::")
    is_list = all(_TAR.search(piece) and not piece.startswith("tar://") for piece in pieces)
    return pieces if len(pieces) > 1 and is_list else []


def _union(listings: list[Listing]) -> Listing:
    """All their files, named from the folder that they share."""
    url = "::".join(listing.url for listing in listings)
    files = {
        listing.shard(name): size for listing in listings for name, size in listing.files.items()
    }
    names = [name.split("/")[:-1] for name in files]
    alike = takewhile(lambda parts: len({*parts}) == 1, zip(*names, strict=False))
    shared = "/".join(parts[0] for parts in alike)
    if "://" in url and "://" not in shared:
        raise RequestError(f"{url}: the shards must be in one bucket; copy them together.")
    start = len(shared) + 1
    below = {name[start:]: size for name, size in files.items()}
    return Listing(url, listings[0].store.at(shared or "/"), below, is_folder=False)


def _walk(folder: str, prefix: str, above: Set[tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """Follows links to folders, as `torchvision.datasets.ImageFolder` does (fsspec does not)."""
    with os.scandir(folder or "/") as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                status = entry.stat()
            except OSError:  # a link to nothing: reported when it is read
                yield prefix + entry.name, 0
                continue
            place = _place(status)
            if stat.S_ISREG(status.st_mode):
                yield prefix + entry.name, status.st_size
            elif stat.S_ISDIR(status.st_mode) and place not in above:  # else it holds itself
                yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {place})


def _place(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _named(url: str, store: Store, names: list[str]) -> Listing:
    def size(name: str) -> int:
        info = store.info(name)
        if info is None:
            raise RequestError(
                f"{store.url.rstrip('/')}/{name} does not exist, but {url} asks for it; "
                "correct the range or add the file."
            )
        return int(info["size"] or 0)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        files = dict(zip(names, pool.map(size, names), strict=True))
    return Listing(url, store, files, is_folder=False)


def _matching(url: str, store: Store) -> list[str]:
    """The files below a folder that match, each once."""
    names: list[str] = []
    for pattern in expand_braces(url[len(store.url.rstrip("/")) + 1 :]):
        names += _globbed(store, pattern) if _GLOB.search(pattern) else [pattern]
    if not names:
        raise RequestError(f"{url} matches no file; check the pattern.")
    return list(dict.fromkeys(names))


def _globbed(store: Store, pattern: str) -> list[str]:
    matches = store.glob(pattern).items()
    names = (name for name, info in matches if info["type"] != "directory")
    return sorted(name for name in names if not _is_hidden(name))


def expand_braces(pattern: str) -> list[str]:
    """Every name of a pattern: ``{000..002}`` counts with the zeros kept, ``{a,b}`` lists.

    ``{0..8..2}`` counts in steps. (The package `braceexpand` writes out a range before anybody
    can see that it is too long.)

    Raises:
        RequestError: it would be more than a million names.
    """
    match = _BRACE.search(pattern)
    if match is None:
        return [pattern]
    first, last, step, words = match.groups()
    values = _count(first, last, int(step or 1)) if words is None else words.split(",")
    rest = expand_braces(pattern[match.end() :])
    if len(values) * len(rest) > _MOST_NAMES:
        raise RequestError(f"{pattern} stands for more than {_MOST_NAMES} files; narrow it.")
    return [f"{pattern[: match.start()]}{value}{tail}" for value in values for tail in rest]


def _count(first: str, last: str, by: int) -> list[str]:
    """The numbers from the first to the last, but no more than already are too many."""
    low, high = int(first), int(last)
    padded = first.startswith("0") or last.startswith("0")
    digits = max(len(first), len(last)) if padded else 0
    sign = 1 if high >= low else -1
    numbers = range(low, high + sign, sign * max(by, 1))[: _MOST_NAMES + 1]
    return [f"{number:0{digits}}" for number in numbers]
