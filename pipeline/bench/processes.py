"""Processor time of this process's descendants: Ray's workers are grandchildren."""

import os
from contextlib import suppress
from pathlib import Path

Spent = dict[int, float]
"""Process id → processor seconds that it has taken in all."""


def descendants() -> Spent:
    """All descendants that are alive; none where the system has no ``/proc``."""
    parents, spent = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            fields = status.read_text().rpartition(")")[2].split()  # a name may hold blanks
            pid = int(status.parent.name)
            parents[pid] = int(fields[1])
            spent[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return {pid: seconds for pid, seconds in spent.items() if _descends(pid, parents)}


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False


def seconds_between(before: Spent, after: Spent) -> float:
    """Processor seconds taken between two looks by those who are alive at the second."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
