"""Reading files, and what it means when that fails: the file, or the store for a while."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from errno import EACCES, EIO, EISDIR, ELOOP, ENAMETOOLONG, ENOTDIR, EPERM
from functools import partial
from typing import Any

from pipeline.data.samples import Sample
from pipeline.data.store import Store, version_of
from pipeline.errors import IncompleteError, MissingDataError, StoreError, one_line

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
    return store.open(block=_BLOCK)


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a store, or the bytes of it from `start` on.

    Attributes:
        name: of the file.
        size: bytes that must come; None where it is not known.
        start: None: from the first byte.
    """

    name: str
    size: int | None = None
    start: int | None = None

    @property
    def end(self) -> int | None:
        """The byte behind the last one; None: to the end of the file."""
        return None if self.start is None else self.start + (self.size or 0)


def read_files(store: Store, pieces: Sequence[Piece]) -> Iterator[bytes | Exception]:
    """What each piece holds, or why it cannot be read; many requests are under way at once."""
    if store.is_local:
        yield from (_read(store, piece) for piece in pieces)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for at in range(0, len(pieces), _AT_ONCE):  # so that no more than these are in memory
            yield from pool.map(partial(_read, store), pieces[at : at + _AT_ONCE])


def _read(store: Store, piece: Piece) -> bytes | Exception:
    try:
        return store.read(piece.name, piece.start, piece.end, piece.size)
    except StoreError:
        raise  # or every other piece would wait as long
    except Exception as error:  # every file system has errors of its own
        return error


def why_unreadable(error: BaseException, store: Store) -> str | None:
    """The reason, if it is this file that cannot be read; None if it is the store or the machine.

    A file of a disk that cannot be read stays so. What a remote store answers (time-outs, expired
    credentials) or a machine (no file handle left) is worth another try of the part, and so is
    what is not found, since another machine may have it: all that would otherwise pass for
    thousands of bad pictures.
    """
    if isinstance(error, UnreadableError):
        return str(error)
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


def as_listed(shard: Store, size: int, samples: Iterator[Sample]) -> Iterator[Sample]:
    """The samples of a shard, which must be the listed one from the first of them to the last.

    Args:
        shard: what is read.
        size: bytes that it was listed with; 0 where that is not known.
        samples: of it, or some of them.

    Raises:
        MissingDataError: it is another one, or becomes another meanwhile.
    """
    before = version_of(shard)
    if size and before.size != size:
        raise changed(shard.url)
    yield from samples
    if version_of(shard) != before:
        raise changed(shard.url)


def damaged(what: str, why: object) -> IncompleteError:
    """The error that something cannot be read a second time."""
    return IncompleteError(
        f"{what} was read before and is no longer whole ({why}); put it back, then give the same "
        "command again."
    )


def changed(what: str) -> MissingDataError:
    """The error that something is not what was listed."""
    return MissingDataError(
        f"{what} has changed since it was listed; put it back, then give the same command again."
    )


def missing(what: str) -> MissingDataError:
    """The error that something listed or read before is not found by this machine."""
    return MissingDataError(
        f"{what} is not found; put it back, or mount it on this machine, then give the same "
        "command again."
    )
