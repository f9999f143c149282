"""Reading files, and what it means when that fails: the file, or the store for a while."""

from collections.abc import Iterator, Sequence
from errno import EACCES, EIO, EISDIR, ELOOP, ENAMETOOLONG, ENOTDIR, EPERM
from typing import Any

from pipeline.data.samples import Sample
from pipeline.data.store import Store
from pipeline.errors import IncompleteError, one_line

_BLOCK = 8 << 20  # bytes read ahead from a remote shard
_AT_ONCE = 64  # requests of a remote store under way at once
_OF_THE_FILE = {EACCES, EPERM, EIO, EISDIR, ENOTDIR, ELOOP, ENAMETOOLONG}


class UnreadableError(Exception):
    """A shard breaks off, is damaged or something else; its text is the reason.

    Attributes:
        key: what was being read, empty where it has no name.
    """

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(one_line(reason))
        self.key = key


def open_file(store: Store) -> Any:
    """A binary stream of a file, read ahead in blocks."""
    return store.fs.open(store.path(), "rb", block_size=_BLOCK, cache_type="readahead")


def read_files(
    store: Store,
    names: Sequence[str],
    starts: Sequence[int | None] | None = None,
    ends: Sequence[int | None] | None = None,
) -> Iterator[bytes | BaseException]:
    """What each file holds (between two bytes, if given), or why it cannot be read."""
    size = 1 if store.is_local else _AT_ONCE
    for at in range(0, len(names), size):
        batch = slice(at, at + size)
        paths = [store.path(name) for name in names[batch]]
        yield from store.fs.cat_ranges(paths, starts and starts[batch], ends and ends[batch])


def why_unreadable(error: BaseException, store: Store) -> str | None:
    """The reason, if it is this file that cannot be read; None if it is the store or the machine.

    A file of a disk that cannot be read stays so, and so does an object that is gone. What else
    a remote store answers (time-outs, expired credentials) or a machine (no file handle left) is
    worth another try of the part, and would otherwise pass for thousands of bad pictures.
    """
    if isinstance(error, UnreadableError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "it is no longer there"
    if store.is_local and isinstance(error, OSError) and error.errno in _OF_THE_FILE:
        return error.strerror or str(error)
    return None


def until_broken(shard: str, samples: Iterator[Sample]) -> Iterator[Sample]:
    """The samples of a shard; if it is damaged, at last one with a `problem`.

    A shard that is gone or that the disk does not give is no sample's defect: that is raised, so
    that the part is tried again, and named as not done if it fails every time.
    """
    try:
        yield from samples
    except UnreadableError as error:
        yield Sample(shard, error.key, b"", problem=str(error))


def lost(what: str, state: str) -> IncompleteError:
    """The error that something cannot be read a second time."""
    return IncompleteError(
        f"{what} was read before and is {state}; put it back, then give the same command again."
    )
