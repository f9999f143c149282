"""What a disk does not do by itself: files whole or not at all, no leftovers, a word beforehand."""

import os
import re
import time
import uuid
from contextlib import suppress
from pathlib import Path

_WRITING = 3600.0
"""Seconds after which whoever was writing a file does so no more."""

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")


def write(path: Path, data: bytes) -> None:
    """Write a file beside its place, then rename it: another process sees all of it or nothing."""
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


def sweep(root: str) -> None:
    """Remove what writers that were killed have left below a folder."""
    long_ago = time.time() - _WRITING
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names if _UNFINISHED.fullmatch(name)):
            with suppress(OSError):  # gone meanwhile, or somebody else's
                if path.stat().st_mtime < long_ago:
                    path.unlink()


def no_room(place: Path) -> str | None:
    """Why nothing can be written into a folder that may not be there yet, if so."""
    there = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
    if not there.is_dir():
        what = "a file" if there.exists() else "a link that leads nowhere"
        return f"{there} is {what}, no folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"writing into {there} is not allowed"
    return None
