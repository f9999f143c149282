"""A tar archive read forwards only, whole or compressed, that tells exactly where it breaks.

The standard library's `tarfile` reads the headers. But it takes an archive that was cut off for one
that ends there; here that is an error, with the name of the member that is not whole.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from io import SEEK_END, BufferedIOBase
from typing import Any

from pipeline.data.formats.reading import UnreadableError
from pipeline.errors import one_line

_CHUNK = 8 << 20
_MOST_METADATA = 1 << 20
_LARGEST = 1 << 30  # a few bytes, compressed or sparse, can ask for any amount of memory
_RECORD = re.compile(rb"(\d{1,9}) [^=]+=")  # of a pax header: <length> <key>=<value>\n
_END_MARK: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_NOTHING: type[Exception] = tarfile.EmptyHeaderError  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive.

    Attributes:
        name: as the archive has it.
        offset: of its first byte in the archive; None where its bytes lie elsewhere or apart (of
            a link, a sparse file).
        data: its content; empty if there is a problem.
        problem: why it has no content.
    """

    name: str
    offset: int | None
    data: bytes
    problem: str | None = None


Reopen = Callable[[], AbstractContextManager[BufferedIOBase]]
"""Opens the archive once more, to be read at any place."""


def members(
    stream: BufferedIOBase, wanted: Callable[[str], bool], again: Reopen
) -> Iterator[Member]:
    """The files of a tar archive whose name is `wanted`, in order; of a link what it leads to.

    Args:
        stream: the archive from its start.
        wanted: which members are read at all.
        again: only called where there are links, which may lead anywhere in the archive.

    Raises:
        UnreadableError: after everything that is whole.
    """
    with _Links(again) as links:
        yield from _members(stream, wanted, links)


def _members(
    stream: BufferedIOBase, wanted: Callable[[str], bool], links: "_Links"
) -> Iterator[Member]:
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
            if not wanted(header.name):
                continue
            if header.size > _LARGEST and not (header.issym() or header.islnk()):
                reason = f"a file of {header.size} bytes, more than {_LARGEST}"
                yield Member(header.name, None, b"", reason)
            elif header.issparse():
                yield _sparse(header, source)
            elif header.isreg():
                yield Member(header.name, header.offset_data, source.take(header.size))
            elif header.issym() or header.islnk():
                yield links.follow(header)
    except tarfile.ReadError:  # the last byte before a header is not there
        raise source.cut_short() from None


def _sparse(header: tarfile.TarInfo, source: "_Source") -> Member:
    """A file whose long runs of zeros are left out: the archive has only what is between them."""
    data = bytearray(header.size)
    pieces: Any = header.sparse  # (start, size) of each
    for start, size in pieces:
        piece = source.take(size)
        data[start : start + size] = piece[: max(0, header.size - start)]
    return Member(header.name, None, bytes(data))


class _Links:
    """Follows the links of an archive, with a second look at it that may go anywhere."""

    def __init__(self, again: Reopen) -> None:
        self._again = again
        self._opened = ExitStack()
        self._archive: tarfile.TarFile | None = None
        self._headers: dict[int, tarfile.TarInfo] = {}  # by where they are

    def __enter__(self) -> "_Links":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def follow(self, link: tarfile.TarInfo) -> Member:
        """The content of the file that a link leads to, over other links if need be."""
        problem = f"it is a link to {link.linkname}, which is no file of the tar"
        try:
            content = self._content(link.offset)
        except (KeyError, RecursionError):  # not there; it leads back to itself
            content = None
        except (tarfile.TarError, ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            content = None
            problem = f"it is a link to {link.linkname}, and the tar is damaged ({error})"
        said = one_line(problem) if content is None else None
        return Member(link.name, None, content or b"", said)

    def _content(self, offset: int) -> bytes | None:
        """As `tarfile` has it; None if the link leads to a folder, say."""
        if self._archive is None:
            stream: Any = self._opened.enter_context(self._again())
            archive = tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="replace")
            self._archive = self._opened.enter_context(archive)
            self._headers = {header.offset: header for header in archive.getmembers()}
        # its own header of the link, since a hard link leads to the last such name before it
        content = self._archive.extractfile(self._headers[offset])
        if content is None:
            return None
        if content.seek(0, SEEK_END) > _LARGEST:
            raise ValueError(f"it leads to more than {_LARGEST} bytes")
        content.seek(0)
        return content.read()


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
