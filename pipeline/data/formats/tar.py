"""A tar archive read forwards only, whole or compressed, that tells exactly where it breaks.

The standard library's `tarfile` reads the headers. But it takes an archive that was cut off for one
that ends there; here that is an error, with the name of the member that is not whole.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any

from pipeline.data.formats.reading import UnreadableError

_CHUNK = 8 << 20
_MOST_METADATA = 1 << 20
_RECORD = re.compile(rb"(\d{1,9}) [^=]+=")  # of a pax header: <length> <key>=<value>\n
_END_MARK: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_NOTHING: type[Exception] = tarfile.EmptyHeaderError  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of an archive; `offset` is that of its first byte in the archive."""

    name: str
    offset: int
    data: bytes


def members(stream: BufferedIOBase, wanted: Callable[[str], bool]) -> Iterator[Member]:
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
            if header.size < 0:
                raise UnreadableError("the tar is damaged: a member of negative size", header.name)
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
            return super().fromtarfile(archive)
        except _END_MARK:
            raise
        except _NOTHING:
            reason = "the tar is cut short: it has no end mark" if start else "the file is empty"
        except (tarfile.TarError, ValueError, LookupError) as error:
            damage = f"the tar is cut short or damaged at byte {start} ({error})"
            reason = damage if start else f"not a tar archive ({error})"
        raise UnreadableError(reason)

    def _proc_pax(self, archive: tarfile.TarFile) -> "_Header":
        """The member behind a pax header, which Python 3.11 leaves out where it is damaged.

        Then the member would have its short name, perhaps no picture's, and be passed over.
        """
        source: Any = archive.fileobj
        source.takes_records = True
        header: _Header = super()._proc_pax(archive)  # type: ignore[misc]
        return header


def _require_records(data: bytes) -> None:
    """Refuse a pax header in which anything but records and a padding of zeros stands."""
    data = data.rstrip(b"\0")
    while data:
        match = _RECORD.match(data)
        length = int(match[1]) if match else 0
        if not match or match.end() >= length or data[length - 1 : length] != b"\n":
            raise ValueError("invalid extended header")
        data = data[length:]


class _Source:
    """The stream as `tarfile` takes it, with the name of the member whose data is next."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._position = 0
        self.member = ""
        self.takes_records = False

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
        data = b"".join(self._chunks(size))
        if self.takes_records:
            self.takes_records = False
            _require_records(data)
        return data

    def take(self, size: int) -> bytes:
        """The data of the member."""
        data = b"".join(self._chunks(size))
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
