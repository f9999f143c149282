"""Tars against Python's `tarfile`: the same members with the same bytes, or a recorded problem."""

import gzip
import io
import random
import tarfile
import zlib
from contextlib import nullcontext
from pathlib import Path

from pipeline.data.formats.dataset import open_dataset
from pipeline.data.formats.reading import UnreadableError
from pipeline.data.formats.tar import members
from pipeline.errors import RequestError
from tests.fuzz.mutation import Outcome, mutated, require, require_sentence

_FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
_NAMES = (
    "0000.jpg", "0001.png", "0001.cls", "a/0002.jpg", "photo 1.2.jpg", "0003.json",
    f"{'d' * 50}/{'e' * 40}.jpg", "ünï/0004.jpg", "notes", "0005.jpeg",
)  # fmt: skip
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)


class Tars:
    """Archives of few members: plain, long names, pax, sparse, links, base-256 sizes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        dice = random.Random("tars")
        self._corpus = [_archive(dice) for _ in range(300)]

    def try_one(self, dice: random.Random) -> Outcome:
        """One mutated archive, member by member and as a dataset."""
        data = mutated(dice.choice(self._corpus), dice, self._corpus)
        if dice.random() < 0.15:  # one whose checksums are right in spite of all
            data = _resealed(data)
        outcome = _compared(data)
        suffix = ".tar"
        if dice.random() < 0.1:
            data, suffix = mutated(gzip.compress(data, 1), dice), ".tar.gz"
        file = self._folder / f"0{suffix}"
        file.write_bytes(data)
        return _read(file) if dice.random() < 0.5 else outcome


def _archive(dice: random.Random) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=dice.choice(_FORMATS)) as archive:
        for number in range(dice.randint(1, 5)):
            name = dice.choice(_NAMES)
            header = tarfile.TarInfo(name)
            content = dice.randbytes(dice.choice((0, 3, 511, 512, 700)))
            if number and dice.random() < 0.25:
                header.type, content = dice.choice(_LINKS), b""
                header.linkname = dice.choice(_NAMES)
            if archive.format != tarfile.USTAR_FORMAT and dice.random() < 0.3:
                long = f"{'d' * 120}/0006.jpg"
                header.name, header.linkname = long, header.linkname and long
            if archive.format == tarfile.PAX_FORMAT and dice.random() < 0.3:
                header.pax_headers = {"path": name, "comment": "é" * dice.randint(0, 50)}
            if archive.format == tarfile.GNU_FORMAT and dice.random() < 0.25:
                _add_sparse(archive, stream, header, content)
                continue
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    data = stream.getvalue()
    return _base_256(data) if dice.random() < 0.2 else data


def _add_sparse(
    archive: tarfile.TarFile, stream: io.BytesIO, header: tarfile.TarInfo, content: bytes
) -> None:
    """GNU's old form: pieces of a larger file, named in the header."""
    header.size = len(content)
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")[-_BLOCK:])
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[386:410] = b"%011o\0%011o\0" % (512, len(content))
    block[483:495] = b"%011o\0" % (512 + len(content) + 300)
    _seal(block, 0)
    stream.write(block + content + bytes(-len(content) % _BLOCK))
    archive.offset = stream.tell()


def _base_256(data: bytes) -> bytes:
    """The first member's size in the form for large ones."""
    block = bytearray(data)
    try:
        size = int(bytes(block[124:135]).rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        return data
    block[124:136] = b"\x80" + size.to_bytes(11)
    _seal(block, 0)
    return bytes(block)


def _seal(data: bytearray, at: int) -> None:
    """Write the checksum of the header at a place."""
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + _BLOCK])


def _resealed(data: bytes) -> bytes:
    """The same with right checksums wherever a header seems to be."""
    changed = bytearray(data)
    for at in range(0, len(data) - _BLOCK + 1, _BLOCK):
        if data[at + 257 : at + 262] == b"ustar":
            _seal(changed, at)
    return bytes(changed)


def _compared(data: bytes) -> Outcome:
    found, error = [], None
    stream = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]
    again = lambda: nullcontext(io.BufferedReader(io.BytesIO(data)))  # type: ignore[arg-type]  # noqa: E731
    try:
        for member in members(stream, lambda _: True, again):
            found.append(member)
    except UnreadableError as caught:
        error = caught
        require_sentence(str(caught))
    expected = _expected(data)
    usable = [member for member in found if member.problem is None]
    for member in found:
        if member.problem is not None:
            require_sentence(member.problem)
        elif member.offset is not None:
            there = data[member.offset : member.offset + len(member.data)]
            require(there == member.data, f"{member.name!r} is not at its offset")
    for member, other in zip(found, expected, strict=False):
        require(member.name == other[0], f"{member.name!r}, in tarfile {other[0]!r}")
        same = member.problem is not None or member.data == other[1]
        require(same, f"{member.name!r} has {len(member.data)} other bytes than in tarfile")
    if error is None:
        require(len(found) >= len(expected), f"{len(found)} of {len(expected)} members")
        return Outcome.USABLE if len(usable) == len(found) else Outcome.SKIPPED
    return Outcome.SKIPPED


def _expected(data: bytes) -> list[tuple[str, bytes | None]]:
    """The files that `tarfile` finds; no bytes where it fails over them."""
    found: list[tuple[str, bytes | None]] = []
    try:
        with tarfile.open(
            fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="replace"
        ) as archive:
            for header in archive.getmembers():
                if header.size < 0 or not (header.isreg() or header.issym() or header.islnk()):
                    continue
                found.append((header.name, _content(archive, header)))
    except (tarfile.TarError, ValueError, LookupError, EOFError, OverflowError, OSError):
        pass
    return found


def _content(archive: tarfile.TarFile, header: tarfile.TarInfo) -> bytes | None:
    if header.size > _MOST:
        return None
    try:
        stream = archive.extractfile(header)
        return stream.read(_MOST) if stream else None
    except (tarfile.TarError, KeyError, RecursionError, ValueError, zlib.error, OSError):
        return None


def _read(file: Path) -> Outcome:
    try:
        dataset = open_dataset(str(file))
        samples = [sample for part in dataset.parts() for sample in dataset.read(part)]
    except RequestError as error:
        require_sentence(str(error), str(file))
        return Outcome.REFUSED
    for sample in samples:
        if sample.problem is not None:
            require_sentence(sample.problem)
    wanted = [sample.located for sample in samples if sample.problem is None]
    keys = [located.key for located in wanted]
    for located, data in dataset.fetch(wanted) if len({*keys}) == len(keys) else ():
        of_sample = next(s.data for s in samples if s.located == located and s.problem is None)
        require(data == of_sample, f"{located.key!r} has other bytes when fetched again")
    problems = any(sample.problem for sample in samples)
    return Outcome.SKIPPED if problems else Outcome.USABLE


_BLOCK = 512
_MOST = 1 << 30
