"""Where things are kept: a folder on a disk or a prefix of a bucket, behind one small face."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pipeline.data.store import disk
from pipeline.data.store.address import Options, connect, without_secrets
from pipeline.data.store.headers import Kept, told, unpacked
from pipeline.data.store.parquet import encoded
from pipeline.data.store.patience import Patience, passes, whole
from pipeline.errors import AtlasError, RequestError, StoreError, WriteError

_GONE = (FileNotFoundError, NotADirectoryError)

T = TypeVar("T")


class Store:
    """A folder addressed by any fsspec URL or local path; names in it are relative, with ``/``.

    Objects appear whole or not at all: on object stores by their nature, on a disk by writing
    beside the place and renaming. Two writers of one name are harmless, the last one stays. What
    an object store fails with is tried again, as `Patience` has it, before it is a `StoreError`.

    Args:
        url: the folder, or one file.
        options: what fsspec is told beside it, for what is not on this machine's disks; what
            stands below a URL, as ``{"s3://public": {"anon": True}}``, for what starts with it.
        answered: whether it is known that this place answers.

    Attributes:
        url: as it was given.
        options: as they were given.
        fs: the fsspec file system.
    """

    def __init__(
        self, url: str | Path, options: Options | None = None, answered: bool = False
    ) -> None:
        self.url = str(url).rstrip("/") or "/"
        self.options = options or {}
        fs, root = connect(self.url, self.options)
        self.fs: Any = fs
        self._root = root.rstrip("/")
        self._patience = Patience(self.reason, self.is_local, answered)

    def __reduce__(self) -> tuple[type["Store"], tuple[str, Options, bool]]:
        # a connection stays in its process
        return Store, (self.url, self.options, self._patience.answered)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Store):
            return NotImplemented
        return (self.url, self.options) == (other.url, other.options)

    def __hash__(self) -> int:
        return hash(self.url)

    def at(self, url: str) -> "Store":
        """Another place, reached with the same options."""
        return Store(url, self.options, self._patience.answered)

    def reason(self, error: BaseException) -> str:
        """What an error says, without the secrets in the options."""
        return without_secrets(str(error), self.options) or type(error).__name__

    @property
    def is_local(self) -> bool:
        """Whether this is a folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def path(self, name: str = "") -> str:
        """The file system's own path of `name`."""
        return f"{self._root}/{name}" if name else self._root

    def _patiently(self, call: Callable[[], T], name: str = "") -> T:
        """What `call` returns; what may pass is tried again, but on a disk.

        Raises:
            StoreError: it does not pass.
            Exception: what is final, as it is.
        """
        if self.is_local:
            return call()
        what = f"{self.url}/{name}".rstrip("/")
        try:
            return self._patience(call, f"{what} cannot be reached")
        except Exception as error:  # every file system has errors of its own
            if not passes(error):
                raise
            raise StoreError(
                f"{what} cannot be reached: {self.reason(error)}. When the store answers, give "
                "the same command again; if it should, check the address and the credentials."
            ) from error

    @contextmanager
    def reaching(self, url: str = "") -> Iterator[None]:
        """Whatever fails in here is the request's fault: a place cannot be read as it stands.

        Args:
            url: of the place, if it was not asked for as this store.

        Raises:
            RequestError: in place of any error that is not this project's own.
        """
        try:
            yield
        except AtlasError:
            raise
        except Exception as error:  # every file system has errors of its own
            raise RequestError(
                f"{url or self.url} cannot be read: {self.reason(error).rstrip('.')}; "
                "check the address and the right to read it."
            ) from error

    def info(self, name: str = "") -> dict[str, Any] | None:
        """What the file system knows of `name`, its `type` and `size` too; None if it is not there.

        Raises:
            StoreError: the store does not answer.
        """
        self.fs.invalidate_cache()
        try:
            return dict(self._patiently(lambda: self.fs.info(self.path(name)), name))
        except _GONE:
            return None

    def exists(self, name: str = "") -> bool:
        """Whether `name` (or the folder itself) is there.

        Raises:
            StoreError: the store does not answer.
            RequestError: it refuses to.
        """
        with self.reaching():
            return self.info(name) is not None

    def list(self, prefix: str = "") -> dict[str, int]:
        """Every object below `prefix`: its name from this folder on, in order, and its bytes.

        Hidden files are left out: a write in progress on a disk is one.

        Raises:
            StoreError: the store does not answer.
            RequestError: it refuses to.
        """
        with self.reaching():
            self.fs.invalidate_cache()
            objects = self._patiently(lambda: self.fs.find(self.path(prefix), detail=True), prefix)
        start = len(self.path()) + 1
        return {
            path[start:]: int(info["size"] or 0)
            for path, info in sorted(objects.items())
            if info["type"] != "directory" and not path.rpartition("/")[2].startswith(".")
        }

    def glob(self, pattern: str) -> dict[str, dict[str, Any]]:
        """The names that match, and what the file system knows of each.

        Raises:
            StoreError: the store does not answer.
        """
        matches = self._patiently(lambda: self.fs.glob(self.path(pattern), detail=True))
        start = len(self.path()) + 1
        return {path[start:]: info for path, info in matches.items()}

    def read(
        self, name: str, start: int | None = None, end: int | None = None, size: int | None = None
    ) -> bytes:
        """The bytes of `name`, or those from `start` to before `end`.

        Args:
            name: of the object.
            start: where to begin.
            end: where to end.
            size: bytes that must come, if known.

        Raises:
            FileNotFoundError: there is no such object.
            StoreError: the store does not answer, or gives less than there is.
        """
        if not self.is_local and start is None:
            if size is None and (info := self.info(name)):
                size = info["size"]
            start = 0 if size else None  # s3fs looks up the size of what is read without a range

        def read() -> bytes:
            return whole(bytes(self.fs.cat_file(self.path(name), start=start, end=end)), size)

        return unpacked(name, self._patiently(read, name))

    def open(self, name: str = "", block: int | None = None) -> Any:
        """A binary, seekable stream of `name`.

        Args:
            name: of the object.
            block: bytes read ahead, where it is read from start to end; 0 for none at all. From a
                disk it is then pyarrow's own, since of a stream of Python's its threads may still
                hold pieces when Python ends, and abort the process; elsewhere, have it use none.

        Raises:
            FileNotFoundError: there is no such object.
            StoreError: the store does not answer; from the stream too.
        """
        if block == 0 and self.is_local:
            return pa.OSFile(self.path(name))
        ahead: dict[str, Any] = {"cache_type": "none"} if block == 0 else {}
        ahead |= {"block_size": block, "cache_type": "readahead"} if block else {}
        stream = self._patiently(lambda: self.fs.open(self.path(name), "rb", **ahead), name)
        cache = getattr(stream, "cache", None)
        if cache is not None:  # of what comes in ranges, unlike files and mere streams
            fetch = cache.fetcher

            def patient(start: int, end: int) -> bytes:
                return self._patiently(lambda: whole(fetch(start, end), end - start), name)

            cache.fetcher = patient
        return stream

    def write(self, name: str, data: bytes, kept: Kept | None = None) -> None:
        """Store `data` under `name`, whole or not at all; `kept`: how long by browsers.

        Raises:
            WriteError: the disk is full, the bucket is gone, or writing is not allowed.
        """
        failed = f"{self.url}/{name} could not be written"
        try:
            self._patience(lambda: self._write(name, data, kept), failed)
        except Exception as error:  # every file system has errors of its own
            raise WriteError(
                f"{failed}: {self.reason(error)}. "
                "Make room or mend the access, then give the same command again."
            ) from error

    def _write(self, name: str, data: bytes, kept: Kept | None) -> None:
        if self.is_local:
            disk.write(Path(self.path(name)), data)
        else:
            data, options = told(self.fs.protocol, name, data, kept)
            self.fs.pipe_file(self.path(name), data, **options)

    def remove(self, name: str) -> None:
        """Remove an object; one that is gone already is as good.

        Raises:
            WriteError: that is not allowed.
        """
        try:
            self._patiently(lambda: self.fs.rm_file(self.path(name)), name)
        except _GONE:
            pass
        except OSError as error:
            raise WriteError(
                f"{self.url}/{name} could not be removed: {self.reason(error)}. "
                "Mend the access, then give the same command again."
            ) from error

    def sweep(self) -> None:
        """Remove what writers that were killed have left on a disk; buckets keep nothing of it."""
        if self.is_local:
            disk.sweep(self.path())

    def require_room(self, option: str) -> None:
        """Refuse a place, named by an `option`, where nothing can be written; no bucket is asked.

        Raises:
            RequestError: on the way there is a file, or writing is not allowed.
        """
        if self.is_local and (why := disk.no_room(Path(self.path()))):
            raise RequestError(f"{self.url}: {why}; name another {option}.")

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The Parquet object `name`, or only some columns of it."""
        with self.open(name, block=0) as stream:
            file = pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=True)
            return file.read(columns=columns, use_threads=self.is_local)

    def write_table(
        self, name: str, table: pa.Table, group: int | None = None, by: str | None = None
    ) -> None:
        """Store `table` as the Parquet object `name`, with checksums: a flipped bit is noticed.

        Args:
            name: of the object.
            table: its rows.
            group: rows that can be read alone, where not the whole is.
            by: a column; where it changes, such a group ends.

        Raises:
            WriteError: it cannot be written.
        """
        self.write(name, encoded(table, group, by))
