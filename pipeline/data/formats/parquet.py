"""Parquet shards with a column of encoded pictures, as published on the Hugging Face hub."""

import logging
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import groupby
from urllib.parse import unquote

from pipeline.data.class_names import ClassNames, described
from pipeline.data.formats.files import Listing
from pipeline.data.formats.parquet_file import IN_THE_PATH, ColumnError, ParquetFile, Row
from pipeline.data.formats.reading import UnreadableError, why_unreadable
from pipeline.data.samples import (
    Asked,
    Located,
    Part,
    Sample,
    checked_label,
    part_of_shard,
)
from pipeline.data.store import Store
from pipeline.errors import RequestError

SUFFIXES = (".parquet",)
_LABELLED = ("label=", "labels=")
_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?[0-9]{1,10}")
_ROWS_OF_A_PART = 4096
_ROWS_TO_SPLIT = 8192  # a file of more rows is several parts, if it has the row groups
_AT_ONCE = 16  # footers under way at once

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parquet:
    """Reads Parquet shards; a sample's key is the number of its row in the file.

    Args:
        names: of the classes.
        place: any, reached as the shards are.
        partitions: folder → label, where folders say it (``label=cat/``) and files need not.
        asked: which columns.
    """

    names: ClassNames | None
    place: Store
    partitions: Mapping[str, int | str]
    asked: Asked

    def read(self, part: Part) -> Iterator[Sample]:
        """The samples of a part; what is left of a damaged row group is one with a `problem`."""
        with ParquetFile(self.place.at(part.shard), self.asked) as file:
            for group in part.row_groups or range(len(file.rows_of_groups)):
                yield from self._group(part.shard, file, group)

    def _group(self, shard: str, file: ParquetFile, group: int) -> Iterator[Sample]:
        row, classes = file.first_rows[group], file.columns.classes
        of_folder = self.partitions.get(shard.rpartition("/")[0])
        try:
            for content in file.rows(group):
                data, problem = self._picture(shard, content)
                value = of_folder if file.columns.label is None else content.label
                label, class_name = checked_label(_whole(value))
                if label is not None and label < len(classes):
                    class_name = classes[label]
                label, class_name = described(self.names, label, class_name)
                yield Sample(shard, str(row), data or b"", label, class_name, problem=problem)
                row += 1
        except UnreadableError as error:
            yield Sample(shard, str(row), b"", problem=f"row group {group} from here on: {error}")

    def fetch(self, shard: str, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
        """Some pictures, from the row groups that have them."""
        of_row = {int(located.key): located for located in wanted}
        with ParquetFile(self.place.at(shard), self.asked) as file:
            groups = groupby(sorted(of_row), lambda row: bisect_right(file.first_rows, row) - 1)
            for group, numbers in groups:
                rows = enumerate(file.rows(group), file.first_rows[group])
                for number in numbers:
                    row = next((row for at, row in rows if at == number), None)
                    data, _ = self._picture(shard, row) if row else (None, None)
                    if data is None:
                        raise UnreadableError(f"row {number} has no picture")
                    yield of_row[number], data

    def _picture(self, shard: str, row: Row) -> tuple[bytes | None, str | None]:
        """The picture of a row, or why there is none; a path starts at the shard's folder."""
        if row.data is not None:
            return row.data, None
        if not row.path:
            return None, "the row has no picture"
        is_whole = "://" in row.path or row.path.startswith("/")
        path = row.path if is_whole else f"{shard.rpartition('/')[0]}/{row.path}"
        try:
            return self.place.at(path).read(""), None
        except FileNotFoundError:
            reason: str | None = "where there is none"
        except (RequestError, ValueError) as error:  # of no known protocol, or with a zero byte
            reason = str(error)
        except Exception as error:  # every file system has errors of its own
            reason = why_unreadable(error, self.place.at(path))
            if reason is None:
                raise
        return None, f"the row has no picture, only the path {path}: {reason}"


# --- opening ----------------------------------------------------------------------------------


def reader_of(listing: Listing, names: ClassNames | None, asked: Asked) -> Parquet:
    """The reader of the shards that `listing` has."""
    partitions = _partitions(listing, asked.label_column)
    if partitions and asked.label_column is not None:  # no column of the files
        asked = replace(asked, label_column=IN_THE_PATH)
    return Parquet(names, listing.store, partitions, asked)


def parts_of(listing: Listing, reader: Parquet) -> tuple[Part, ...]:
    """The parts: a file each, or several where it has many rows and row groups.

    Raises:
        RequestError: the first readable file has no column of pictures, or no file is readable.
    """
    asked = reader.asked
    shards = [listing.store.at(listing.shard(name)) for name in listing.files]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(partial(_rows_of_groups, asked=asked), shards)
        footers = dict(zip(shards, found, strict=True))
    for shard, footer in footers.items():
        if isinstance(footer, ColumnError):
            raise RequestError(f"{shard.url}: {footer}.")
        if not isinstance(footer, UnreadableError):
            _say_what_is_unused(shard, asked)
            break
    else:
        shard, footer = next(iter(footers.items()))
        raise RequestError(
            f"{shard.url}: {footer}; no file can be read, so write or copy them again."
        )
    return tuple(
        part_of_shard(shard.url, listing.unsigned(name), size, groups)
        for (name, size), shard in zip(listing.files.items(), shards, strict=True)
        for groups in _split(footers[shard])
    )


def _say_what_is_unused(shard: Store, asked: Asked) -> None:
    """One line of the log where a column that is called labels holds something else."""
    with (
        suppress(UnreadableError),
        ParquetFile(shard, asked) as file,
    ):  # damage is said as it is mined
        label, unused = file.columns.label, file.columns.unused
        if unused is not None:
            log.warning("%s: column %s holds no labels and is not used.", shard.url, unused)
        elif label is not None and file.has_fractions(label):
            log.warning("%s: in column %r only whole numbers are labels.", shard.url, label)


def _partitions(listing: Listing, column: str | None) -> dict[str, int | str]:
    """Folder → label, as pandas and Spark read ``label=cat/part-0.parquet``.

    The labels are numbers if every one is, else names.
    """
    starts = _LABELLED if column is None else (f"{column}=",)
    texts: dict[str, str] = {}
    for name in listing.files:
        folder = name.rpartition("/")[0]
        said = [part.split("=", 1)[1] for part in folder.split("/") if part.startswith(starts)]
        if said and said[-1] != _NULL:
            texts[listing.shard(name).rpartition("/")[0]] = unquote(said[-1])
    if all(_INTEGER.fullmatch(text) for text in texts.values()):
        return {folder: int(text) for folder, text in texts.items()}
    return dict(texts)


def _whole(value: object) -> object:
    """Numbers of other types as integers (pandas makes floats of integers with one missing)."""
    match value:
        case bool():
            return int(value)
        case float() | Decimal():
            return int(value) if math.isfinite(value) and value == int(value) else None
    return value


def _rows_of_groups(shard: Store, asked: Asked) -> tuple[int, ...] | UnreadableError:
    try:
        with ParquetFile(shard, asked) as file:
            return file.rows_of_groups
    except UnreadableError as error:
        return error


def _split(footer: tuple[int, ...] | UnreadableError | ColumnError) -> list[tuple[int, ...]]:
    return split(footer) if isinstance(footer, tuple) else [()]


def split(rows_of_groups: Sequence[int]) -> list[tuple[int, ...]]:
    """The row groups of each part of a file; one empty tuple for a file that is one part."""
    if sum(rows_of_groups) <= _ROWS_TO_SPLIT or len(rows_of_groups) == 1:
        return [()]
    parts: list[tuple[int, ...]] = [()]
    room = _ROWS_OF_A_PART
    for group, rows in enumerate(rows_of_groups):
        if rows > room and parts[-1]:
            parts.append(())
            room = _ROWS_OF_A_PART
        parts[-1] += (group,)
        room -= rows
    return parts
