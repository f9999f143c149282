"""WebDataset shards: tar archives whose adjacent members of one basename are one sample."""

import gzip
import json
import logging
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedIOBase

from pipeline.data.class_names import ClassNames, described
from pipeline.data.formats.files import Listing
from pipeline.data.formats.ranges import fetch_ranges
from pipeline.data.formats.reading import UnreadableError, open_file, until_broken
from pipeline.data.formats.tar import Member, members
from pipeline.data.samples import (
    PICTURES,
    Asked,
    Located,
    Part,
    Sample,
    checked_label,
    part_of_shard,
)
from pipeline.data.store import Store, without_signature
from pipeline.errors import RequestError, one_line

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_EXTENSIONS = frozenset({*PICTURES, "cls", "json"})

_LOOKED_AT = 200  # members of the first shard
_LOOKED_INTO = 32 << 20  # bytes of it, at most

_WNID = re.compile(r"(n\d{8})_")
_DOTS = "all that follows the first dot, "
log = logging.getLogger(__name__)
_MEMBER = re.compile(r"((?:.*/)?[^/.]+)\.([^/]*)", re.DOTALL)  # path up to the first dot; the rest


@dataclass(frozen=True, slots=True)
class WebDataset:
    """Reads tar shards.

    A group of members without a picture is no sample (a note beside the pictures, say). Of two
    pictures in a group the one whose extension comes first in `PICTURES` is the sample's. A
    picture's extension is all that follows the first dot, as the webdataset library has it: so
    ``0001.mask.png`` is none, and where nothing else of its group is, it is named as unusable.
    """

    names: ClassNames | None
    place: Store

    def read(self, part: Part) -> Iterator[Sample]:
        """The samples of a shard, as far as it is whole."""
        shard = part.shard
        is_plain = not _is_compressed(shard)
        for group in _with_labels_ahead(shard, _groups(self.place.at(shard))):
            pictures = [extension for extension in PICTURES if extension in group]
            if not pictures:
                yield from _unusable(shard, group)
                continue
            picture = group[pictures[0]]
            label, class_name = _label(group)
            if label is None and class_name is None:
                class_name = _class_of_tar(shard, picture.name)
            label, class_name = described(self.names, label, class_name)
            is_range = is_plain and picture.offset is not None
            extent = (picture.offset, len(picture.data)) if is_range else ()
            sample = Sample(shard, picture.name, picture.data, label, class_name, *extent)
            yield replace(sample, problem=picture.problem)

    def fetch(self, shard: str, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
        """Some pictures: by byte range where they have one, or else out of the stream."""
        store = self.place.at(shard)
        plain = [located for located in wanted if located.offset is not None]
        yield from fetch_ranges(store, plain)
        if streamed := [located for located in wanted if located.offset is None]:
            yield from _members(store, streamed)


def reader_of(listing: Listing, names: ClassNames | None, _: Asked) -> WebDataset:
    """The reader of the shards that `listing` has."""
    return WebDataset(names, listing.store)


def parts_of(listing: Listing, reader: WebDataset) -> tuple[Part, ...]:
    """The parts, one per shard.

    Raises:
        RequestError: the first whole shard has no picture, or no shard is whole.
    """
    parts = tuple(
        part_of_shard(listing.shard(name), listing.unsigned(name), size)
        for name, size in listing.files.items()
    )
    first_problem = None
    for part in parts:
        samples = until_broken(part.shard, reader.read(part))
        first = next((sample for sample in samples if not _has_dots(sample)), None)
        if first is None:
            _refuse_tar_of_tars(listing.store.at(part.shard))
            raise RequestError(
                f"{part.shard} holds no picture: no member's extension, which is all that follows "
                f"the first dot, is {', '.join(PICTURES[:-1])} or {PICTURES[-1]}; "
                "check that it is an image dataset."
            )
        if first.problem is None:
            _say_what_has_no_picture(listing.store.at(part.shard))
            return parts
        first_problem = first_problem or f"{part.shard}: {first.problem}"
    raise RequestError(f"{first_problem}; no shard has a picture, so write or copy them again.")


def _say_what_has_no_picture(shard: Store) -> None:
    """One line of the log if many of a shard's first members belong to no picture."""
    names: list[str] = []
    with suppress(UnreadableError), _opened(shard) as stream:

        def enough(name: str) -> bool:
            names.append(name)
            return len(names) == _LOOKED_AT or stream.tell() > _LOOKED_INTO

        next(members(stream, enough, lambda: _opened(shard)), None)
    of_key: dict[str, set[str]] = {}
    for key, extension in filter(all, map(_split, names)):
        of_key.setdefault(key, set()).add(extension)
    strange = [kinds for kinds in of_key.values() if kinds.isdisjoint(_EXTENSIONS)]
    if len(strange) * 10 > len(of_key):
        extensions = sorted({f".{extension}" for kinds in strange for extension in kinds})
        log.warning(
            "%s: of its first %d names, %d have no known extension but only %s, which is all that "
            "follows the first dot, and are not used; pictures are %s.",
            shard.url, len(of_key), len(strange), ", ".join(extensions[:5]), ", ".join(PICTURES),
        )  # fmt: skip


def _refuse_tar_of_tars(shard: Store) -> None:
    """Refuse what ImageNet's training set is as downloaded, with the command that unpacks it."""
    with _opened(shard) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        inner = next((member.name for member in archive if member.name.endswith(".tar")), None)
    if inner is not None:
        folder = shard.url.rpartition("/")[2].partition(".")[0]
        raise RequestError(
            f"{shard.url} is a tar of tars ({inner} …); unpack it with `mkdir {folder} && "
            f"tar -xf {shard.url} -C {folder}` and give that folder."
        )


def _class_of_tar(shard: str, name: str) -> str | None:
    """The class of a tar of ImageNet's, as downloaded: ``n01440764.tar`` has such names only."""
    wnid = _WNID.match(name.rpartition("/")[2])
    in_shard = shard.rpartition("/")[2].partition(".")[0]
    return wnid[1] if wnid and wnid[1] == in_shard else None


def _is_compressed(shard: str) -> bool:
    return without_signature(shard).lower().endswith((".gz", ".tgz"))


@contextmanager
def _opened(shard: Store) -> Iterator[BufferedIOBase]:
    with open_file(shard) as raw:
        if _is_compressed(shard.url):
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream
        else:
            yield raw


def _groups(shard: Store) -> Iterator[dict[str, Member]]:
    """Extension → member of each sample; what was complete before a break comes out too."""
    key = ""
    group: dict[str, Member] = {}
    try:
        with _opened(shard) as stream:
            for member in members(stream, _is_wanted, lambda: _opened(shard)):
                own_key, extension = _split(member.name)
                if own_key != key:
                    yield group
                    key, group = own_key, {}
                group.setdefault(extension, member)
    except UnreadableError:
        yield group
        raise
    yield group


def _with_labels_ahead(
    shard: str, groups: Iterator[dict[str, Member]]
) -> Iterator[dict[str, Member]]:
    """The same groups; one whose label came before, apart from it, has that too.

    So it is in a tar that was not sorted by name. A label that comes after its picture, and apart
    from it, is too late: of such there is a word.
    """
    ahead: dict[str, dict[str, Member]] = {}
    unlabelled: set[str] = set()
    late = 0
    for group in groups:
        key = _split(next(iter(group.values())).name)[0] if group else ""
        has_label = not group.keys().isdisjoint({"cls", "json"})
        if group.keys().isdisjoint(PICTURES):
            if has_label and key in unlabelled:
                late += 1
            elif has_label:
                ahead[key] = group
            yield group
            continue
        if not has_label and key not in ahead:
            unlabelled.add(key)
        yield {**ahead.pop(key, {}), **group}
    if late:
        log.warning(
            "%s: %d labels come after their pictures, apart from them, and are not used; write "
            "the tar with --sort=name.",
            shard,
            late,
        )


def _unusable(shard: str, group: Mapping[str, Member]) -> Iterator[Sample]:
    """What would be pictures, were it not for the dots in their names."""
    for extension, member in group.items():
        if extension not in _EXTENSIONS:
            problem = one_line(f"its extension is {_DOTS}.{extension}; rename it without dots")
            yield Sample(shard, member.name, b"", problem=problem)


def _has_dots(sample: Sample) -> bool:
    return _DOTS in (sample.problem or "")


def _split(name: str) -> tuple[str, str]:
    match = _MEMBER.fullmatch(name)
    return (match[1], match[2].lower()) if match else ("", "")


def _is_wanted(name: str) -> bool:
    extension = _split(name)[1]
    return extension in _EXTENSIONS or extension.rpartition(".")[2] in PICTURES


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


def _members(shard: Store, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
    missing = {located.key: located for located in wanted}
    with _opened(shard) as stream:
        for member in members(stream, missing.__contains__, lambda: _opened(shard)):
            if member.offset is not None and not _is_compressed(shard.url):
                continue  # another of that name, which would have been fetched by its range
            yield missing.pop(member.name), member.data
            if not missing:
                return
    raise UnreadableError(f"{next(iter(missing))} is not in it")
