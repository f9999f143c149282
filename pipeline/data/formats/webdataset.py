"""WebDataset shards: tar archives whose adjacent members of one basename are one sample."""

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase

from pipeline.data.class_names import ClassNames, described
from pipeline.data.formats.files import Listing
from pipeline.data.formats.reading import UnreadableError, open_file, read_files, until_broken
from pipeline.data.formats.tar import Member, members
from pipeline.data.samples import PICTURES, Located, Part, Sample, checked_label, numbered
from pipeline.data.store import Store
from pipeline.errors import RequestError

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_MEMBER = re.compile(r"((?:.*/)?[^/.]+)\.([^/]*)", re.DOTALL)  # path up to the first dot; the rest


@dataclass(frozen=True, slots=True)
class WebDataset:
    """Reads tar shards.

    A group of members without a picture is no sample (a note beside the pictures, say). Of two
    pictures in a group the one whose extension sorts first is the sample's. A picture's extension
    is all that follows the first dot, so ``0001.mask.png`` is none.
    """

    names: ClassNames | None

    def read(self, part: Part) -> Iterator[Sample]:
        """The samples of a shard, as far as it is whole."""
        shard = part.shard
        with _opened(shard) as stream:
            for group in _groups(stream):
                pictures = group.keys() & {*PICTURES}
                if not pictures:
                    continue
                picture = group[min(pictures)]
                label, class_name = described(self.names, *_label(group))
                is_plain = not _is_compressed(shard)
                extent = (picture.offset, len(picture.data)) if is_plain else ()
                yield Sample(shard, picture.name, picture.data, label, class_name, *extent)

    def fetch(self, shard: str, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
        """Some pictures: by byte range, or out of the stream where the tar is compressed."""
        return _members(shard, wanted) if _is_compressed(shard) else _ranges(shard, wanted)


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
        first = next(until_broken(part.shard, reader.read(part)), None)
        if first is None:
            raise RequestError(
                f"{part.shard} holds no picture: no member's extension, which is all that follows "
                f"the first dot, is {', '.join(PICTURES[:-1])} or {PICTURES[-1]}; "
                "check that it is an image dataset."
            )
        if first.problem is None:
            return reader, parts
        first_problem = first_problem or f"{part.shard}: {first.problem}"
    raise RequestError(f"{first_problem}; no shard has a picture, so write or copy them again.")


def _is_compressed(shard: str) -> bool:
    return shard.lower().endswith((".gz", ".tgz"))


@contextmanager
def _opened(shard: str) -> Iterator[BufferedIOBase]:
    with open_file(shard) as raw:
        if _is_compressed(shard):
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream
        else:
            yield raw


def _groups(stream: BufferedIOBase) -> Iterator[dict[str, Member]]:
    """Extension → member of each sample; what was complete before a break comes out too."""
    key = ""
    group: dict[str, Member] = {}
    try:
        for member in members(stream, _is_wanted):
            own_key, extension = _split(member.name)
            if own_key != key:
                yield group
                key, group = own_key, {}
            group.setdefault(extension, member)
    except UnreadableError:
        yield group
        raise
    yield group


def _split(name: str) -> tuple[str, str]:
    match = _MEMBER.fullmatch(name)
    return (match[1], match[2].lower()) if match else ("", "")


def _is_wanted(name: str) -> bool:
    return _split(name)[1] in (*PICTURES, "cls", "json")


def _label(group: Mapping[str, Member]) -> tuple[int | None, str | None]:
    """The number and the name of the class, as far as ``.cls`` and ``.json`` tell."""
    contents = {extension: member.data for extension, member in group.items()}
    label, class_name = checked_label(contents.get("cls", b"").decode("utf-8", "replace"))
    try:
        facts = json.loads(contents.get("json", b"null"))
    except (ValueError, RecursionError):
        facts = None
    if isinstance(facts, dict):
        number, name = checked_label(facts.get("label"))
        _, stated = checked_label(facts.get("class_name"))
        label = number if label is None else label
        class_name = stated or class_name or name
    return label, class_name


def _ranges(shard: str, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
    starts = [located.offset or 0 for located in wanted]
    ends = [(located.offset or 0) + (located.length or 0) for located in wanted]
    contents = read_files(Store(shard), [""] * len(wanted), starts, ends)
    for located, data in zip(wanted, contents, strict=True):
        if isinstance(data, BaseException):
            raise data
        if len(data) != located.length:
            raise UnreadableError(f"the tar is cut short before {located.key}")
        yield located, data


def _members(shard: str, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
    missing = {located.key: located for located in wanted}
    with _opened(shard) as stream:
        for member in members(stream, missing.__contains__):
            yield missing.pop(member.name), member.data
            if not missing:
                return
    raise UnreadableError(f"{next(iter(missing))} is not in it")
