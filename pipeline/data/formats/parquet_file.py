"""One Parquet file of pictures: which columns they are, row groups, rows, and what is damaged."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.formats.reading import UnreadableError, open_file, why_unreadable
from pipeline.data.store import Store

_ROWS_AT_ONCE = 32
_BUFFER = 1 << 20  # bytes of a column read at once: memory holds its pages, not its row groups


class NoImageColumnError(UnreadableError):
    """The file has no column of pictures; its text names the columns that it has."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a file are what.

    Args:
        image: the column of encoded pictures.
        is_struct: whether they are the ``bytes`` of a struct, as the Hugging Face hub has it.
        label: the column of labels, numbers or names.
        unused: a column that is called so and holds something else, with its type.
        classes: the names of the numbers, where the file has them.
    """

    image: str
    is_struct: bool
    label: str | None
    classes: tuple[str, ...]
    unused: str | None = None

    @property
    def leaves(self) -> list[str]:
        """What to read."""
        image = f"{self.image}.bytes" if self.is_struct else self.image
        return [image] if self.label is None else [image, self.label]


class ParquetFile:
    """An open file; everything about it that fails for good is an `UnreadableError`.

    What a remote store fails with meanwhile is raised as it is.

    Attributes:
        rows_of_groups: rows of each row group.
        first_rows: the number of each one's first row in the file.
        columns: which are pictures and labels.
    """

    def __init__(self, url: str) -> None:
        self._store = Store(url)
        self._stream: _Watched | None = None
        try:
            with self._reporting():
                self._stream = _Watched(open_file(url))
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
                self.columns = find_columns(self._file.schema_arrow)
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

    def rows(self, group: int) -> Iterator[tuple[bytes | None, object]]:
        """Picture and label of each row of a row group; streamed."""
        columns = self.columns
        with self._reporting():
            for batch in self._file.iter_batches(
                _ROWS_AT_ONCE, row_groups=[group], columns=columns.leaves, use_threads=False
            ):
                images = batch.column(columns.image)
                if columns.is_struct:
                    images = pc.struct_field(images, "bytes")
                labels = None if columns.label is None else batch.column(columns.label)
                for row, image in enumerate(images):
                    yield image.as_py(), None if labels is None else labels[row].as_py()

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
            reason = why_unreadable(cause, self._store)
            if reason is None:
                raise cause from None
            raise UnreadableError(reason) from error


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


def find_columns(schema: pa.Schema) -> Columns:
    """The pictures are in ``image``, the labels in ``label`` or ``labels``.

    Else each is the first column that the file's Hugging Face metadata calls so.

    Raises:
        NoImageColumnError: there is no column of binary pictures.
    """
    features = _features(schema)
    image = _first(schema, ["image", *_of_type(features, "Image")], _is_picture)
    if image is None:
        has = ", ".join(schema.names) or "none"
        raise NoImageColumnError(f"no column 'image' of pictures (binary or struct), but {has}")
    called = ["label", "labels", *_of_type(features, "ClassLabel")]
    label = _first(schema, called, _is_label)
    other = None if label else _first(schema, called, lambda _: True)
    unused = None if other is None else f"{other!r} ({schema.field(other).type})"
    names = features.get(label or "", {}).get("names")
    classes = tuple(map(str, names)) if isinstance(names, list) else ()
    return Columns(image, pa.types.is_struct(schema.field(image).type), label, classes, unused)


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
    return next((name for name in there if suits(schema.field(name).type)), None)


def _is_picture(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_binary(kind.field(at).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return kind in (pa.binary(), pa.large_binary(), pa.binary_view())


def _is_label(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    texts = (pa.string(), pa.large_string(), pa.string_view())
    return value in texts or any(suits(value) for suits in numeric)
