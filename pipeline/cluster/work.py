"""Units of work: which of them wait, for whom, and when one is given up. Knows nothing of Ray."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import TRIES, MissingDataError

_LOSSES = 5
"""Workers that may die with a unit until it is given up: nodes are taken away, often several."""

_PAUSE = 1.0
"""Seconds until a unit that failed is tried again, and twice as many each time after; with a
jitter, so that those who failed together do not come back together."""

_IN_A_ROW = 3
"""Failures of one node, with no success between, after which it is left alone for a while."""

_REST, _LONGEST_REST = 30.0, 600.0
"""Seconds for which a failing node is left alone: at first, doubled each time, and at most."""


@dataclass(eq=False)
class Unit:
    """A unit of work and what became of it so far.

    Attributes:
        content: of it.
        name: for messages.
        failures: node → how often it failed there.
        losses: workers that died with it.
        copies: of it that are under way.
        earliest: the time before which it is not tried again.
        is_over: whether it is done or given up.
    """

    content: Any
    name: str
    failures: Counter[str] = field(default_factory=Counter)
    losses: int = 0
    copies: int = 0
    earliest: float = 0.0
    is_over: bool = False

    @property
    def attempt(self) -> int:
        """The number of the present attempt."""
        return 1 + self.failures.total() + self.losses


class Work:
    """All units of a job.

    Args:
        contents: of the units, in the order in which they are begun.
        name: of a unit, given its content.

    Attributes:
        left: how many are neither done nor given up.
        given_up: their names, and why.
    """

    def __init__(self, contents: Sequence[Any], name: Callable[[Any], str]) -> None:
        self.left = len(contents)
        self.given_up: list[str] = []
        self._fresh: Iterator[Unit] = (Unit(content, name(content)) for content in contents)
        self._waiting: list[Unit] = []
        self._begun = 0
        self._count = len(contents)

    @property
    def waiting(self) -> int:
        """How many nobody is at."""
        return self._count - self._begun + len(self._waiting)

    def take(self, node: str, others: Collection[str], now: float) -> Unit | None:
        """A unit for a worker on this node; one that failed there is kept for the other nodes.

        Args:
            node: of the worker.
            others: nodes that are at work too, or will be.
            now: the time, in seconds.
        """
        for unit in self._waiting:
            is_for_others = unit.failures[node] and any(not unit.failures[at] for at in others)
            if unit.earliest <= now and not is_for_others:
                self._waiting.remove(unit)
                break
        else:
            unit = next(self._fresh, None)  # type: ignore[assignment]
            if unit is None:
                return None
            self._begun += 1
        unit.copies += 1
        return unit

    def done(self, unit: Unit) -> bool:
        """One copy of a unit came to its end; tells whether it was the first."""
        unit.copies -= 1
        if unit.is_over:
            return False
        unit.is_over = True
        self.left -= 1
        return True

    def failed(
        self,
        unit: Unit,
        node: str,
        nodes: Iterable[str],
        error: BaseException,
        why: str,
        now: float,
    ) -> bool:
        """A unit failed on a node; tells whether it will be tried again.

        What is not found is looked for on every node: it may be that one lacks a mount.
        """
        unit.copies -= 1
        unit.failures[node] += 1
        is_missing = isinstance(error, FileNotFoundError | MissingDataError)
        elsewhere = is_missing and any(not unit.failures[at] for at in nodes)
        hopeless = unit.failures.total() >= TRIES and not elsewhere
        return self._again(unit, hopeless, why, now)

    def lost(self, unit: Unit, why: str, now: float) -> bool:
        """The worker at a unit died; tells whether it will be tried again."""
        unit.copies -= 1
        unit.losses += 1
        return self._again(unit, unit.losses >= _LOSSES, why, now)

    def _again(self, unit: Unit, hopeless: bool, why: str, now: float) -> bool:
        if unit.is_over or unit.copies:
            return True  # somebody else is at it, or has done it
        if hopeless:
            unit.is_over = True
            self.left -= 1
            self.given_up.append(f"{unit.name} ({why})")
            return False
        pause = _PAUSE * 2 ** max(0, unit.failures.total() - 1) * random.uniform(0.5, 1.5)
        unit.earliest = now + (pause if unit.failures else 0.0)
        self._waiting.append(unit)
        return True


@dataclass
class _Record:
    in_a_row: int = 0
    rests: int = 0
    closed_until: float = 0.0


class Nodes:
    """Which nodes are worth trusting: one that fails again and again is left alone for a while.

    A failing node is fast, and would eat up what the others could do.
    """

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def succeeded(self, node: str) -> None:
        """Something was done there."""
        self._records.pop(node, None)

    def failed(self, node: str, now: float) -> float | None:
        """Something failed there; the seconds for which the node is to rest, if it is."""
        record = self._records.setdefault(node, _Record())
        record.in_a_row += 1
        if record.in_a_row < _IN_A_ROW:
            return None
        rest: float = min(_LONGEST_REST, _REST * 2**record.rests)
        record.rests, record.in_a_row, record.closed_until = record.rests + 1, 0, now + rest
        return rest

    def open(self, nodes: Collection[str], now: float) -> set[str]:
        """Those of these nodes that do not rest; all, where all would."""
        chosen = {node for node in nodes if not self._rests(node, now)}
        return chosen or set(nodes)

    def _rests(self, node: str, now: float) -> bool:
        return node in self._records and now < self._records[node].closed_until
