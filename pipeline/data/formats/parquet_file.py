"""One Parquet file of pictures: which columns they are, row groups, rows, and what is damaged."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.formats.reading import UnreadableError, open_file
from pipeline.data.samples import NOTHING_ASKED, Asked
from pipeline.data.store import Store

IN_THE_PATH = "="
"""What is asked for as the column of labels where folders say them: no column is called so."""

_ROWS_AT_ONCE = 32
_LARGEST, _DENSEST = 1 << 28, 50  # bytes of a column's part, and times what it is in the file
_OF_IMG2DATASET = ("jpg", "png", "webp")
_BYTES = (pa.binary(), pa.large_binary(), pa.binary_view())
_TEXTS = (pa.string(), pa.large_string(), pa.string_view())
_BUFFER = 1 << 20  # bytes of a column read at once: memory holds its pages, not its row groups


class ColumnError(UnreadableError):
    """The file has no such columns; its text says which it has, and the remedy."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a file are what.

    Args:
        image: the column of encoded pictures.
        fields: ``bytes``, ``path`` or both, where they are in a struct, as the Hugging Face hub
            has it; else none.
        label: the column of labels, numbers or names.
        unused: a column that is called so and holds something else, with its type.
        classes: the names of the numbers, where the file has them.
    """

    image: str
    fields: tuple[str, ...]
    label: str | None
    classes: tuple[str, ...]
    unused: str | None = None

    @property
    def leaves(self) -> list[str]:
        """What to read."""
        image = [f"{self.image}.{field}" for field in self.fields] or [self.image]
        return image if self.label is None else [*image, self.label]


class Row(NamedTuple):
    """What a file says of one sample.

    Attributes:
        data: the encoded picture.
        path: where the picture is, if it is not here.
        label: as it stands.
    """

    data: bytes | None
    path: str | None
    label: object


class ParquetFile:
    """An open file; what makes no sense in it is an `UnreadableError`.

    What a disk or a store fails with is raised as it is, a file that is gone too.

    Attributes:
        rows_of_groups: rows of each row group.
        first_rows: the number of each one's first row in the file.
        columns: which are pictures and labels.
    """

    def __init__(self, shard: Store, asked: Asked = NOTHING_ASKED) -> None:
        self._stream: _Watched | None = None
        try:
            with self._reporting():
                self._stream = _Watched(open_file(shard))
                self._file = pq.ParquetFile(
                    pa.PythonFile(self._stream, mode="r"),
                    buffer_size=_BUFFER,
                    pre_buffer=False,
                    page_checksum_verification=True,
                )
                metadata = self._file.metadata
                groups = map(metadata.row_group, range(metadata.num_row_groups))
                self.rows_of_groups: tuple[int, ...] = tuple(group.num_rows for group in groups)
                self.first_rows = tuple(accumulate(self.rows_of_groups, initial=0))[:-1]
                self.columns = find_columns(self._file.schema_arrow, asked)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ParquetFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; harmless twice."""
        if self._stream is not None:
            self._stream.close()

    def _refuse_endless(self, group: int) -> None:
        """A few bytes can ask for any amount of memory; pictures are compressed already."""
        metadata = self._file.metadata.row_group(group)
        for chunk in map(metadata.column, range(metadata.num_columns)):
            size, packed = chunk.total_uncompressed_size, max(1, chunk.total_compressed_size)
            is_image = chunk.path_in_schema.partition(".")[0] == self.columns.image
            if is_image and size > max(_LARGEST, _DENSEST * packed):
                raise UnreadableError(f"{packed} bytes of pictures that unpack to {size}")

    def rows(self, group: int) -> Iterator[Row]:
        """The rows of a row group; streamed."""
        columns = self.columns
        with self._reporting():
            self._refuse_endless(group)
            for batch in self._file.iter_batches(
                _ROWS_AT_ONCE, row_groups=[group], columns=columns.leaves, use_threads=False
            ):
                nothing = pa.nulls(len(batch))
                images, paths = batch.column(columns.image), nothing
                if columns.fields:
                    of = {field: pc.struct_field(images, field) for field in columns.fields}
                    images, paths = of.get("bytes", nothing), of.get("path", nothing)
                labels = nothing if columns.label is None else batch.column(columns.label)
                for values in zip(images, paths, labels, strict=True):
                    yield Row(*(value.as_py() for value in values))

    def has_fractions(self, column: str) -> bool:
        """Whether a column has a number that is not whole (NaN, which pandas writes, is none)."""
        at = self._file.schema_arrow.get_field_index(column)
        kind = self._file.schema_arrow.field(at).type
        if not (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            return False
        with self._reporting():
            values = self._file.read(columns=[column], use_threads=False).column(0)
            if pa.types.is_floating(kind):
                values = values.cast(pa.float64())  # there is arithmetic for
            fraction = pc.and_(pc.is_finite(values), pc.not_equal(pc.floor(values), values))
            return bool(pc.any(fraction).as_py())

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except UnreadableError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            cause = self._stream.failure if self._stream else error
            if cause is None:  # every byte came, but they make no sense
                raise UnreadableError(f"damaged or no Parquet ({error})") from error
            raise cause from None


class _Watched:
    """A stream that remembers why it failed: pyarrow's own errors do not tell it from damage."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except Exception as error:
            self.failure = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


# --- columns ----------------------------------------------------------------------------------


def find_columns(schema: pa.Schema, asked: Asked) -> Columns:
    """The pictures are in ``image``, the labels in ``label`` or ``labels``, if not asked otherwise.

    Else each is the first column that the file's Hugging Face metadata calls so, and the pictures
    are in ``jpg``, ``png`` or ``webp`` (img2dataset's) or the only column that can have any.

    Raises:
        ColumnError: there is no column of pictures, or none of what was asked for.
    """
    features = _features(schema)
    image = _image_column(schema, features, asked.image_column)
    called = ["label", "labels", *_of_type(features, "ClassLabel")]
    if asked.label_column == IN_THE_PATH:
        called = []
    elif asked.label_column is not None:
        called = [_require(schema, asked.label_column, _is_label, "labels", "label")]
    label = _first(schema, called, _is_label)
    other = None if label else _first(schema, called, lambda _: True)
    unused = None if other is None else f"{other!r} ({schema.field(other).type})"
    names = features.get(label or "", {}).get("names")
    classes = tuple(map(str, names)) if isinstance(names, list) else ()
    return Columns(image, _fields(schema.field(image).type), label, classes, unused)


def _image_column(schema: pa.Schema, features: dict[str, dict[str, Any]], asked: str | None) -> str:
    if asked is not None:
        return _require(schema, asked, _is_picture, "pictures", "image")
    image = _first(schema, ["image", *_of_type(features, "Image"), *_OF_IMG2DATASET], _is_picture)
    if image is not None:
        return image
    possible: list[str] = [field.name for field in schema if _is_picture(field.type)]
    if len(possible) == 1:
        return possible[0]
    if possible:
        raise ColumnError(
            f"its pictures may be in {' or '.join(possible)}; say which with --image-column"
        )
    if "image" in schema.names:
        _require(schema, "image", _is_picture, "pictures", "image")
    has = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    raise ColumnError(
        f"no column of pictures (binary, or a struct with bytes) is among its columns: {has}; "
        "check that it is an image dataset"
    )


def _require(schema: pa.Schema, name: str, suits: Any, what: str, option: str) -> str:
    """The column called `name`, if there is one that holds such."""
    if name not in schema.names:
        raise ColumnError(
            f"there is no column {name!r}; name one of {', '.join(schema.names)} "
            f"with --{option}-column"
        )
    kind = _type_of(schema, name)
    if suits(kind):
        return name
    if option == "image" and kind in _TEXTS:
        raise ColumnError(
            f"column {name!r} holds text ({kind}), perhaps paths or URLs, and no pictures; write "
            "the pictures' bytes into it (img2dataset does), or give the folder that they are in"
        )
    raise ColumnError(f"column {name!r} ({kind}) holds no {what}; see --{option}-column")


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What the Hugging Face `datasets` library says of the columns."""
    try:
        facts = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = facts["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def _of_type(features: dict[str, dict[str, Any]], kind: str) -> list[str]:
    return [name for name, feature in features.items() if feature.get("_type") == kind]


def _first(schema: pa.Schema, names: Sequence[str], suits: Any) -> str | None:
    there = (name for name in names if name in schema.names)
    return next((name for name in there if suits(_type_of(schema, name))), None)


def _type_of(schema: pa.Schema, name: str) -> pa.DataType:
    if schema.names.count(name) > 1:
        raise ColumnError(f"it has several columns called {name!r}; leave one")
    return schema.field(name).type


def _is_picture(kind: pa.DataType) -> bool:
    return kind in _BYTES or bool(_fields(kind))


def _fields(kind: pa.DataType) -> tuple[str, ...]:
    """Where a struct has pictures, as bytes or as paths."""
    suitable = {"bytes": _BYTES, "path": _TEXTS} if pa.types.is_struct(kind) else {}
    at = {name: kind.get_field_index(name) for name in suitable}
    return tuple(
        name
        for name, index in at.items()
        if index >= 0 and kind.field(index).type in suitable[name]
    )


def _is_label(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return value in _TEXTS or any(suits(value) for suits in numeric)
