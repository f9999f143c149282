"""WebDataset shards: tar archives whose adjacent members of one basename are one sample."""

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.data.class_names import ClassNames, described
from pipeline.data.formats.files import Listing, open_file, why_unreadable
from pipeline.data.formats.tar import DamagedTarError, Member, Stream, members
from pipeline.data.samples import PICTURES, Located, Part, Sample, checked_label, numbered
from pipeline.data.store import Store
from pipeline.errors import IncompleteError, RequestError

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_MEMBER = re.compile(r"((?:.*/)?[^/.]+)\.([^/]*)", re.DOTALL)  # path up to the first dot; the rest
_AT_ONCE = 32  # byte ranges under way at once


@dataclass(slots=True)
class _Group:
    """The members of one sample so far."""

    key: str
    pictures: dict[str, Member] = field(default_factory=dict)  # by extension
    labels: dict[str, bytes] = field(default_factory=dict)

    def add(self, extension: str, member: Member) -> None:
        if extension in PICTURES:
            self.pictures.setdefault(extension, member)
        else:
            self.labels.setdefault(extension, member.data)


@dataclass(frozen=True, slots=True)
class WebDataset:
    """Reads tar shards.

    A group of members without a picture is no sample (a note beside the pictures, say). Of two
    pictures in a group the one whose extension sorts first is the sample's. A picture's extension
    is all that follows the first dot, so ``0001.mask.png`` is none.
    """

    names: ClassNames | None

    def read(self, part: Part) -> Iterator[Sample]:
        """The samples of a shard; if it breaks off, at last one with a `problem`."""
        try:
            with _opened(part.shard) as stream:
                for group in _groups(stream):
                    if group.pictures:
                        yield self._sample(part.shard, group)
        except DamagedTarError as error:
            yield Sample(part.shard, error.member, b"", problem=str(error))
        except Exception as error:
            reason = why_unreadable(error, Store(part.shard))
            if reason is None:
                raise
            yield Sample(part.shard, "", b"", problem=reason)

    def _sample(self, shard: str, group: _Group) -> Sample:
        picture = group.pictures[min(group.pictures)]
        label, class_name = described(self.names, *_label(group.labels))
        is_plain = not _is_compressed(shard)
        return Sample(
            shard,
            picture.name,
            picture.data,
            label,
            class_name,
            offset=picture.offset if is_plain else None,
            length=len(picture.data) if is_plain else None,
        )

    def fetch(self, shard: str, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
        """Some pictures: by byte range, or out of the stream where the tar is compressed.

        Raises:
            IncompleteError: the shard or a member is no longer there.
        """
        try:
            yield from _ranges(shard, [one for one in wanted if one.offset is not None])
            yield from _members(shard, [one for one in wanted if one.offset is None])
        except (FileNotFoundError, DamagedTarError) as error:
            raise IncompleteError(
                f"{shard} was read before and is no longer whole ({error}); "
                "put it back, then give the same command again."
            ) from error


def open_webdataset(
    listing: Listing, names: ClassNames | None
) -> tuple[WebDataset, tuple[Part, ...]]:
    """The reader and the parts, one per shard.

    Raises:
        RequestError: the first whole shard has no picture, or no shard is whole.
    """
    reader = WebDataset(names)
    parts = numbered(Part("", listing.shard(name)) for name in listing.files)
    first_problem = None
    for part in parts:
        first = next(reader.read(part), None)
        if first is None:
            raise RequestError(
                f"{part.shard} holds no picture: no member's extension, which is all that follows "
                f"the first dot, is {_or(PICTURES)}; check that it is an image dataset."
            )
        if first.problem is None:
            return reader, parts
        first_problem = first_problem or f"{part.shard}: {first.problem}"
    raise RequestError(f"{first_problem}; no shard has a picture, so write or copy them again.")


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _is_compressed(shard: str) -> bool:
    return shard.lower().endswith((".gz", ".tgz"))


@contextmanager
def _opened(shard: str) -> Iterator[Stream]:
    with open_file(shard) as raw:
        if _is_compressed(shard):
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream
        else:
            yield raw


def _groups(stream: Stream) -> Iterator[_Group]:
    """Runs of members of one key; what was complete before a break comes out too."""
    group = _Group("")
    try:
        for member in members(stream, _is_wanted):
            key, extension = _split(member.name)
            if key != group.key:
                yield group
                group = _Group(key)
            group.add(extension, member)
    except DamagedTarError:
        yield group
        raise
    yield group


def _split(name: str) -> tuple[str, str]:
    match = _MEMBER.fullmatch(name)
    return (match[1], match[2].lower()) if match else ("", "")


def _is_wanted(name: str) -> bool:
    return _split(name)[1] in (*PICTURES, "cls", "json")


def _label(labels: dict[str, bytes]) -> tuple[int | None, str | None]:
    """The number and the name of the class, as far as ``.cls`` and ``.json`` tell."""
    label, class_name = checked_label(labels.get("cls", b"").decode("utf-8", "replace"))
    try:
        facts = json.loads(labels.get("json", b"null"))
    except (ValueError, RecursionError):
        facts = None
    if isinstance(facts, dict):
        number, name = checked_label(facts.get("label"))
        _, stated = checked_label(facts.get("class_name"))
        label = number if label is None else label
        class_name = stated or class_name or name
    return label, class_name


def _ranges(shard: str, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
    store = Store(shard)
    for at in range(0, len(wanted), _AT_ONCE):
        batch = wanted[at : at + _AT_ONCE]
        starts = [one.offset or 0 for one in batch]
        ends = [start + (one.length or 0) for start, one in zip(starts, batch, strict=True)]
        paths = [store.path()] * len(batch)
        contents = store.fs.cat_ranges(paths, starts, ends, on_error="raise")
        for one, data in zip(batch, contents, strict=True):
            if len(data) != one.length:
                raise DamagedTarError(f"the tar is cut short before {one.key}")
            yield one, data


def _members(shard: str, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
    missing = {one.key: one for one in wanted}
    if not missing:
        return
    with _opened(shard) as stream:
        for member in members(stream, missing.__contains__):
            if member.name in missing:
                yield missing.pop(member.name), member.data
            if not missing:
                return
    raise DamagedTarError(f"{next(iter(missing))} is not in it")
