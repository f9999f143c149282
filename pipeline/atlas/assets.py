"""Files whose names tell their content.

A browser may keep them for ever, nobody ever overwrites one, and an atlas is exchanged as a whole
when its index names others.
"""

import hashlib
from collections.abc import Collection, Iterable

from pipeline.data.store import Store

_DIGITS = 10


class Assets:
    """Those of an atlas, each written only where it is not there yet.

    Args:
        dest: where the atlas is.
        there: names that are there already.

    Attributes:
        used: the names that this atlas needs.
    """

    def __init__(self, dest: Store, there: Collection[str] = ()) -> None:
        self.dest, self.used = dest, set[str]()
        self._there = frozenset(there)

    def write(self, name: str, data: bytes) -> str:
        """Store a file; the name that it then has."""
        stem, _, extension = name.rpartition(".")
        named = f"{stem}.{hashlib.sha256(data).hexdigest()[:_DIGITS]}.{extension}"
        if named not in self._there and named not in self.used:
            self.dest.write(named, data, kept="forever")
        self.used.add(named)
        return named

    def use(self, names: Iterable[str]) -> None:
        """Files that somebody else has written."""
        self.used.update(names)
