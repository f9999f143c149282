"""A disk that can fill up. Linux; needs the right to mount one."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SIZE = 200 << 20  # bytes: a run takes a third of it
_BLOCK = bytes(1 << 20)


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A small one, in memory, as long as the block lasts; None where it may not be mounted."""
    place = Path(tempfile.mkdtemp())
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(place)]
    may = shutil.which("mount") and not subprocess.run(mounting, capture_output=True).returncode
    try:
        yield place if may else None
    finally:
        if may:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


@contextmanager
def filled(place: Path) -> Iterator[None]:
    """As long as the block lasts, a disk has no room left."""
    ballast = place / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(_BLOCK[: max(1, min(len(_BLOCK), _free(place)))])
        yield
    finally:
        ballast.unlink(missing_ok=True)


def _free(place: Path) -> int:
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize
