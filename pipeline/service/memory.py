"""The pictures that are asked about at the moment: in memory alone, and for minutes at the most."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.core.occlusion.hiding import Seen
from pipeline.data.pictures import Picture

REMEMBERED = 120.0
"""Seconds after the last question: long enough for somebody who looks at the answer for a while."""

_MOST_BYTES = 2**28
"""Of all pictures; a large net's maps of one are 60 MB."""


@dataclass
class Held:
    """A picture, and what the net makes of it once that was asked for.

    Attributes:
        name: for further questions.
        picture: as the net takes it.
        seen: with nothing hidden, and its maps.
        used: when it was last asked about, in seconds of the clock.
    """

    name: str
    picture: Picture
    seen: Seen | None = None
    used: float = 0.0

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        maps = self.seen.base.nbytes if self.seen and self.seen.base else 0
        return self.picture.image.nbytes + maps


class Memory:
    """Pictures by name; those that nobody asks about any more are forgotten.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._clock, self._lock = clock, threading.Lock()

    def get(self, name: str) -> Held | None:
        """The picture of a name, if it is remembered."""
        with self._lock:
            held = self._held.get(name)
            if held is None:
                return None
            self._held.move_to_end(name)
            held.used = self._clock()
            return held

    def put(self, held: Held) -> None:
        """Remember a picture."""
        with self._lock:
            held.used = self._clock()
            self._held[held.name] = held
            self._held.move_to_end(held.name)

    def forget(self) -> None:
        """Let go of what is old, and of the oldest where it is too much; never of the newest."""
        with self._lock:
            latest = self._clock() - REMEMBERED
            while self._held:
                name, oldest = next(iter(self._held.items()))
                much = sum(held.nbytes for held in self._held.values()) > _MOST_BYTES
                if oldest.used >= latest and not (much and len(self._held) > 1):
                    return
                del self._held[name]
