"""How far the work is: a bar on a terminal, a log line now and then elsewhere."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 15.0


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show the progress of a block; it calls what it is given with how much was just done.

    Args:
        what: the work, as in "mining".
        total: how much there is in all.
        done: how much of it was done before.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(what, total=total, completed=done)
            yield lambda amount: bar.advance(task, amount)
    else:
        with _lines(what, total, done) as advance:
            yield advance


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


@contextmanager
def _lines(what: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    started = last = time.monotonic()

    def advance(amount: int) -> None:
        nonlocal done, last
        done += amount
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            log.info("%s: %d of %d", what, done, total)

    log.info("%s: %d of %d", what, done, total)
    yield advance
    log.info("%s: %d of %d in %.0f s", what, done, total, time.monotonic() - started)
