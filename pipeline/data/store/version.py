"""What tells whether an object is still the one that it was."""

import os
from datetime import UTC, datetime
from errno import ENOENT
from typing import NamedTuple

from pipeline.data.store.store import Store

_TAGS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified", "created")
"""What file systems call what changes with an object: best first, as far as they have it."""


class Version(NamedTuple):
    """Of an object: its bytes, and a tag of its content or the time of its last change."""

    size: int
    tag: str


def version_of(store: Store) -> Version:
    """The version of one file.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: the store does not answer.
    """
    info = store.info()
    if info is None:
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), store.url)
    is_web = "http" in store.fs.protocol  # of whose many servers each may have tags of its own
    tag = next((str(info[key]) for key in _TAGS if info.get(key) and not is_web), "")
    return Version(int(info["size"] or 0), tag)


_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


def changed_at(store: Store, name: str) -> datetime | None:
    """When an object was written last; None where that is not known, or it is gone."""
    info = store.info(name) or {}
    at = next((info[key] for key in _TIMES if info.get(key) is not None), None)
    if isinstance(at, int | float):
        return datetime.fromtimestamp(at, UTC)
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if not isinstance(at, datetime):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
