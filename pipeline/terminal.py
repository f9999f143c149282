"""What the commands say and where: results on stdout, the rest on stderr."""

import logging
import sys
import threading
import time
import unicodedata
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

_WIDE = 1000  # tables in a file or a pipe are never cut
_SECONDS_UNSAID, _SECONDS_BETWEEN_LINES = 30.0, 15.0

_STEERING = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's categories of control characters, of bytes that are no text, and of line breaks."""

log = logging.getLogger(__name__)


def console(stderr: bool = False) -> Console:
    """Plain text: paths may hold brackets; lines are wrapped by the terminal or not at all."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(
        stderr=stderr, width=width, highlight=False, soft_wrap=True, markup=False, emoji=False
    )


def legible(text: str) -> str:
    """A name out of the data, on one line: what would steer a terminal is written out."""
    return "".join(
        repr(sign)[1:-1] if unicodedata.category(sign) in _STEERING else sign for sign in text
    )


class Lines(logging.Handler):
    """Plain lines on stderr as it is now: a progress bar takes its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        print(legible(self.format(record)), file=sys.stderr, flush=True)


class _Warnings(logging.Handler):
    """Keeps what is said, each line once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines[record.getMessage()] = None


@contextmanager
def warnings_kept(name: str) -> Iterator[dict[str, None]]:
    """The warnings logged below `name` while a block runs; they are shown to nobody meanwhile.

    Several threads may be in such blocks; what one of them says, all keep.
    """
    keeper, logger = _Warnings(), logging.getLogger(name)
    logger.addHandler(keeper)
    logger.propagate = False
    try:
        yield keeper.lines
    finally:
        logger.removeHandler(keeper)
        logger.propagate = not logger.handlers


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what a block waits for: on a terminal at once, elsewhere if it takes long."""
    terminal = Console(stderr=True)
    if terminal.is_terminal:
        with terminal.status(f"{legible(what)} …"):
            yield
        return
    timer = threading.Timer(_SECONDS_UNSAID, log.info, ("%s …", what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
    """Show the progress of a block.

    It calls what it is given with how much was just done, and with what else there is to say.

    Args:
        what: the work, as in "mining".
        total: how much there is in all.
        done: how much of it was done before.
    """
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        with _lines(what, total, done) as advance:
            yield advance
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=terminal) as bar:
        task = bar.add_task(what, total=total, completed=done, note="")
        yield lambda amount, note="": bar.update(task, advance=amount, note=note)


@contextmanager
def _lines(what: str, total: int, done: int) -> Iterator[Callable[..., None]]:
    started = last = time.monotonic()
    before, said = done, ""

    def advance(amount: int, note: str = "") -> None:
        nonlocal done, last, said
        done, said = done + amount, f"; {note}" if note else ""
        seconds = time.monotonic() - started
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES and done < total:
            last = time.monotonic()
            left = span(seconds * (total - done) / (done - before)) if done > before else "?"
            log.info("%s: %d of %d%s; about %s left", what, done, total, said, left)

    log.info("%s: %d of %d", what, done, total)
    yield advance
    took = span(time.monotonic() - started)
    log.info("%s: %d of %d in %s%s", what, done, total, took, said)


def span(seconds: float) -> str:
    """A time for readers."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
