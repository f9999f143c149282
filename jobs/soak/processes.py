"""Processes below this one, and what they call themselves. Linux alone has all of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

WORKING = ("ray::mine", "ray::rescore", "ray::project", "ray::pictures", "ray::publish")
"""What Ray calls the processes that do the stages' work."""


def descendants(pid: int) -> Iterator[int]:
    """Every process below a process."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents[int(status.parent.name)] = int(fields[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    yield from family[1:]


def title(pid: int) -> str:
    """What a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def entitled(*titles: str) -> list[int]:
    """The processes below this one whose titles start so."""
    return sorted(pid for pid in descendants(os.getpid()) if title(pid).startswith(titles))


def send(pid: int, number: signal.Signals) -> bool:
    """A signal to a process; tells whether it was still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def kill_family(pid: int) -> None:
    """SIGKILL for a process and all below it."""
    for member in [*descendants(pid), pid]:
        send(member, signal.SIGKILL)
