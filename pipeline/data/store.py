"""Where things are kept: a folder on a disk or a prefix of a bucket, behind one small face."""

import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import TRIES, RequestError, WriteError

log = logging.getLogger(__name__)

# not from `mimetypes`: what it knows depends on the machine
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webp": "image/webp",
}


Options = Mapping[str, Any]
"""What fsspec is told beside a URL."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}
"""Scheme → the extra of this project that reads it."""

_PUBLIC = ("url", "endpoint", "region", "project", "profile", "protocol")
"""In the names of options whose values may be shown."""

_SHORTEST_SECRET = 6

_PAUSE = 1.0
"""Seconds until a write is tried again, and twice as many until the next time."""

_NO_PLACE = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
_HOPELESS = (*_NO_PLACE, PermissionError)
"""What writing again cannot mend: no such bucket, something in the way, not allowed."""


class Store:
    """A folder addressed by any fsspec URL or local path; names in it are relative, with ``/``.

    Objects appear whole or not at all: on object stores by their nature, on a disk by writing
    beside the place and renaming. Two writers of one name are harmless, the last one stays.

    Args:
        url: the folder, or one file.
        options: what fsspec is told beside it, for what is not on this machine's disks; what
            stands below a URL, as ``{"s3://public": {"anon": True}}``, for what starts with it.

    Attributes:
        url: as it was given.
        options: as they were given.
        fs: the fsspec file system.
    """

    def __init__(self, url: str | Path, options: Options | None = None) -> None:
        self.url = str(url).rstrip("/") or "/"
        self.options = options or {}
        try:
            fs, root = fsspec.core.url_to_fs(self.url, **_options_for(self.url, self.options))
        except ImportError as error:
            scheme = self.url.split("://")[0]
            extra = _EXTRAS.get(scheme)
            how = f"pip install '.[{extra}]'" if extra else str(error)
            raise RequestError(
                f"{self.url}: reading {scheme}:// needs a package that is not installed: {how}."
            ) from error
        except (ValueError, TypeError) as error:
            raise RequestError(f"{self.url}: {self.reason(error)}.") from error
        self.fs: Any = fs
        self._root = root.rstrip("/")

    def __reduce__(self) -> tuple[type["Store"], tuple[str, Options]]:
        return Store, (self.url, self.options)  # a connection stays in its process

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Store):
            return NotImplemented
        return (self.url, self.options) == (other.url, other.options)

    def __hash__(self) -> int:
        return hash(self.url)

    def at(self, url: str) -> "Store":
        """Another place, reached with the same options."""
        return Store(url, self.options)

    def reason(self, error: BaseException) -> str:
        """What an error says, without the secrets in the options."""
        said = " ".join(str(error).split()) or type(error).__name__
        for secret in _secrets(self.options):
            said = said.replace(secret, "…")
        return said

    @property
    def is_local(self) -> bool:
        """Whether this is a folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def path(self, name: str = "") -> str:
        """The file system's own path of `name`."""
        return f"{self._root}/{name}" if name else self._root

    def exists(self, name: str = "") -> bool:
        """Whether `name` (or the folder itself) is there."""
        with self._reaching():
            self.fs.invalidate_cache()
            return bool(self.fs.exists(self.path(name)))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Say in one sentence that the place itself is out of reach."""
        try:
            yield
        except Exception as error:  # every file system has errors of its own
            raise RequestError(
                f"{self.url} cannot be reached: {self.reason(error)}. "
                "Check the address and the credentials."
            ) from error

    def list(self, prefix: str = "") -> dict[str, int]:
        """Every object below `prefix`: its name from this folder on, in order, and its bytes.

        Hidden files are left out: a write in progress on a disk is one.
        """
        with self._reaching():
            self.fs.invalidate_cache()
            objects = self.fs.find(self.path(prefix), detail=True)
        start = len(self.path()) + 1
        return {
            path[start:]: int(info["size"] or 0)
            for path, info in sorted(objects.items())
            if not path.rpartition("/")[2].startswith(".")
        }

    def read(self, name: str) -> bytes:
        """The bytes of `name`.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return bytes(self.fs.cat_file(self.path(name)))

    def open(self, name: str) -> Any:
        """A binary, seekable stream of `name`."""
        return self.fs.open(self.path(name), "rb")

    def write(self, name: str, data: bytes) -> None:
        """Store `data` under `name`, whole or not at all; what may pass is tried again.

        Raises:
            WriteError: the disk is full, the bucket is gone, or writing is not allowed.
        """
        for attempt in range(1, TRIES + 1):
            try:
                return self._write(name, data)
            except Exception as error:  # every file system has errors of its own
                failed = f"{self.url}/{name} could not be written"
                if attempt == TRIES or isinstance(error, _HOPELESS):
                    raise WriteError(
                        f"{failed}: {self.reason(error)}. "
                        "Make room or mend the access, then give the same command again."
                    ) from error
                log.warning("%s (try %d of %d): %s", failed, attempt, TRIES, self.reason(error))
                time.sleep(_PAUSE * 2 ** (attempt - 1))
        return None

    def _write(self, name: str, data: bytes) -> None:
        if self.is_local:
            _write_beside_and_rename(Path(self.path(name)), data)
        else:
            self.fs.pipe_file(self.path(name), data, **self._headers(name))

    def require_room(self, option: str) -> None:
        """Refuse a place where nothing can be written, before any work; a bucket is not asked.

        Args:
            option: which names the place.

        Raises:
            RequestError: on the way there is a file, or writing is not allowed.
        """
        if not self.is_local:
            return
        place = Path(self.path())
        there = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
        if not there.is_dir():
            what = "a file" if there.exists() else "a link that leads nowhere"
            raise RequestError(f"{self.url}: {there} is {what}, no folder; name another {option}.")
        if not os.access(there, os.W_OK | os.X_OK):
            raise RequestError(
                f"{self.url}: writing into {there} is not allowed; name another {option}."
            )

    def _headers(self, name: str) -> dict[str, str]:
        """What a bucket must be told of an object, so that browsers show it and do not save it."""
        protocol = self.fs.protocol if isinstance(self.fs.protocol, str) else self.fs.protocol[0]
        header = {"s3": "ContentType", "gs": "content_type", "gcs": "content_type"}.get(protocol)
        return {header: content_type(name)} if header else {}

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The Parquet object `name`, or only some columns of it."""
        with self.open(name) as stream:
            return pq.ParquetFile(stream, page_checksum_verification=True).read(columns=columns)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Store `table` as the Parquet object `name`, with checksums: a flipped bit is noticed."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        self.write(name, sink.getvalue().to_pybytes())


def _options_for(url: str, options: Options) -> dict[str, Any]:
    """Those of the options that are for this URL."""
    if fsspec.core.split_protocol(url)[0] in (None, "file", "local"):
        return {}
    chosen = {name: value for name, value in options.items() if "://" not in name}
    for start in sorted(options.keys() - chosen.keys()):
        if url.startswith(start):
            chosen |= options[start]
    return chosen


def _secrets(value: object, name: str = "") -> Iterator[str]:
    """Every text in options that may not be shown."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, name)
    elif isinstance(value, str):
        is_public = any(part in name.lower() for part in _PUBLIC)
        if len(value) >= _SHORTEST_SECRET and not is_public:
            yield value


def without_signature(url: str) -> str:
    """A URL without its query, which signs it; of other file systems a ``?`` is in the name."""
    return url.partition("?")[0] if url.startswith(("http://", "https://")) else url


def content_type(name: str) -> str:
    """The media type of an object, by its extension."""
    return _TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def _write_beside_and_rename(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
