"""A tar archive read forwards only, whole or compressed, that tells exactly where it breaks.

The standard library's `tarfile` takes an archive that was cut off for one that ends there; here
that is an error, with the name of the member that is not whole.
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

_BLOCK = 512
_CHUNK = 8 << 20
_MOST_METADATA = 1 << 20
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


class DamagedTarError(ValueError):
    """The archive ends too early or is none; `member` is what was being read, or empty."""

    def __init__(self, reason: str, member: str = "") -> None:
        super().__init__(reason)
        self.member = member


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
        DamagedTarError: after everything that is whole.
    """
    source = _Source(stream)
    path, size = None, None  # from an extended header, for the member that follows
    while (header := _header(source)) is not None:
        if header.type in _PAX:
            records = _pax(_metadata(source, header))
            path, size = records.get("path", path), records.get("size", size)
        elif header.type == tarfile.GNUTYPE_LONGNAME:
            path = _metadata(source, header).split(b"\0")[0].decode("utf-8", "replace")
        else:
            name, length = path or header.name, _length(header, size)
            if header.type in _REGULAR and wanted(name):
                offset = source.position
                yield Member(name, offset, source.take(length, name))
            else:
                source.skip(length, name)
            source.skip(-length % _BLOCK, "")
            path, size = None, None


class _Source:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.position = 0

    def take(self, count: int, member: str) -> bytes:
        """The next `count` bytes."""
        chunks = list(self._chunks(count, member))
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def skip(self, count: int, member: str) -> None:
        """Leave `count` bytes out, without keeping them."""
        for _ in self._chunks(count, member):
            pass

    def block(self) -> bytes:
        """The next header, or fewer bytes where the stream ends."""
        return b"".join(self._until_end(_BLOCK, ""))

    def _chunks(self, count: int, member: str) -> Iterator[bytes]:
        end = self.position + count
        yield from self._until_end(count, member)
        if self.position < end:
            raise DamagedTarError(f"the tar is cut short at byte {self.position}", member)

    def _until_end(self, count: int, member: str) -> Iterator[bytes]:
        while count > 0:
            try:
                chunk = self._stream.read(min(count, _CHUNK))
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:  # of a compressed one
                raise DamagedTarError(
                    f"the compressed tar is cut short or damaged ({error})", member
                ) from None
            if not chunk:
                return
            self.position += len(chunk)
            count -= len(chunk)
            yield chunk


def _header(source: _Source) -> tarfile.TarInfo | None:
    start = source.position
    block = source.block()
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        if len(block) == _BLOCK and not any(block):
            return None  # the end mark
        if not block:
            reason = "the tar is cut short: it has no end mark" if start else "the file is empty"
        elif start == 0:
            reason = f"not a tar archive ({error})"
        else:
            reason = f"the tar is cut short or damaged at byte {start} ({error})"
        raise DamagedTarError(reason) from None


def _length(header: tarfile.TarInfo, size: str | None) -> int:
    if header.type not in _REGULAR and header.type in tarfile.SUPPORTED_TYPES:
        return 0  # links and folders have no data, whatever they say
    length = header.size if size is None or not size.isdecimal() else int(size)
    if length < 0:
        raise DamagedTarError("the tar is damaged: a member of negative size", header.name)
    return length


def _metadata(source: _Source, header: tarfile.TarInfo) -> bytes:
    if not 0 <= header.size <= _MOST_METADATA:
        raise DamagedTarError(f"the tar is damaged: an extended header of {header.size} bytes")
    data = source.take(header.size, "")
    source.skip(-header.size % _BLOCK, "")
    return data


def _pax(data: bytes) -> dict[str, str]:
    r"""The records ``<length> <key>=<value>\n`` of an extended header."""
    records: dict[str, str] = {}
    while data.strip(b"\0"):
        digits = data.partition(b" ")[0]
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        key, equals, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not equals:
            raise DamagedTarError("the tar is damaged: an extended header that cannot be read")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[length:]
    return records
