"""A tar archive read forwards only, whole or compressed, that tells exactly where it breaks.

The standard library's `tarfile` reads the headers. But it takes an archive that was cut off for one
that ends there; here that is an error, with the name of the member that is not whole.
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.data.formats.reading import UnreadableError

_CHUNK = 8 << 20
_MOST_METADATA = 1 << 20
_END_MARK: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_NOTHING: type[Exception] = tarfile.EmptyHeaderError  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of an archive; `offset` is that of its first byte in the archive."""

    name: str
    offset: int
    data: bytes


class Stream(Protocol):
    """What can be read forwards."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""


def members(stream: Stream, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The regular files of a tar archive whose name is `wanted`, in order.

    Raises:
        UnreadableError: after everything that is whole.
    """
    source: Any = _Source(stream)  # no whole file, but all that `tarfile` asks of one here
    try:
        archive = tarfile.TarFile(
            fileobj=source, tarinfo=_Header, encoding="utf-8", errors="replace"
        )
        for header in archive:
            # or memory would grow with the archive
            archive.members = []  # type: ignore[attr-defined]
            source.member = header.name
            if header.isreg() and wanted(header.name):
                if header.issparse():
                    raise UnreadableError(
                        "it is sparse; write the tar without --sparse", header.name
                    )
                yield Member(header.name, header.offset_data, source.take(header.size))
    except tarfile.ReadError:  # the last byte before a header is not there
        raise source.cut_short() from None


class _Header(tarfile.TarInfo):
    """A header that tells the end mark from damage, which `TarFile` does not."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        source: Any = archive.fileobj
        start, source.member = source.tell(), ""
        try:
            header = super().fromtarfile(archive)
        except (UnreadableError, _END_MARK):
            raise
        except _NOTHING:
            reason = "the tar is cut short: it has no end mark" if start else "the file is empty"
        except (tarfile.TarError, ValueError, LookupError) as error:
            damage = f"the tar is cut short or damaged at byte {start} ({error})"
            reason = damage if start else f"not a tar archive ({error})"
        else:
            if header.size >= 0:
                return header
            reason = "the tar is damaged: a member of negative size"
            raise UnreadableError(reason, header.name)
        raise UnreadableError(reason)


class _Source:
    """The stream as `tarfile` takes it, with the name of the member whose data is next."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._position = 0
        self.member = ""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        """Leave out the bytes up to there, without keeping them."""
        for _ in self._chunks(position - self._position):
            pass
        if self._position < position:
            raise self.cut_short()

    def read(self, size: int) -> bytes:
        """A header or an extended one, or fewer bytes where the stream ends."""
        if not 0 <= size <= _MOST_METADATA:
            raise UnreadableError(f"the tar is damaged: an extended header of {size} bytes")
        return b"".join(self._chunks(size))

    def take(self, size: int) -> bytes:
        """The data of the member."""
        chunks = list(self._chunks(size))
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if len(data) < size:
            raise self.cut_short()
        self.member = ""
        return data

    def cut_short(self) -> UnreadableError:
        """What to say if this is all."""
        return UnreadableError(f"the tar is cut short at byte {self._position}", self.member)

    def _chunks(self, count: int) -> Iterator[bytes]:
        while count > 0:
            try:
                chunk = self._stream.read(min(count, _CHUNK))
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:  # of a compressed one
                raise UnreadableError(
                    f"the compressed tar is cut short or damaged ({error})", self.member
                ) from None
            if not chunk:
                return
            self._position += len(chunk)
            count -= len(chunk)
            yield chunk
