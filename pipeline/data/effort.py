"""Where the time of a unit of work goes."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

ACTIVITIES = ("reading", "decoding", "net", "writing")


class Effort:
    """What a unit of work took so far.

    Attributes:
        amounts: `seconds` from its beginning to its end, the seconds that threads were at each of
            `ACTIVITIES`, which overlap, and the `bytes` of pictures that were read.
    """

    def __init__(self) -> None:
        self.amounts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the seconds of a block; several threads may at once."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.add(what, time.perf_counter() - begun)

    def add(self, what: str, amount: float) -> None:
        """Some more of something."""
        with self._lock:
            self.amounts[what] += amount  # type: ignore[assignment]
