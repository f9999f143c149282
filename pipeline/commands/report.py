"""What is going on: shown here, and kept in the run for whoever looks from elsewhere."""

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pipeline import schema
from pipeline.cluster.shift import watched
from pipeline.data.effort import ACTIVITIES
from pipeline.data.store import Store
from pipeline.data.stored.progress import Progress, now
from pipeline.errors import AtlasError
from pipeline.stages.part import PartDone
from pipeline.terminal import progress

_EVERY = 10.0
"""Seconds between what is written."""

log = logging.getLogger(__name__)


class Report:
    """A stage under way.

    Args:
        state: how far it is.
        show: told how much was just done, and what else there is to say.
    """

    def __init__(self, state: Progress, show: Callable[[int, str], None]) -> None:
        self.state, self._show, self._begun = state, show, time.monotonic()
        self._spent: Counter[str] = Counter()

    def advance(self, amount: int) -> None:
        """So much more is done of what is counted."""
        self._change(done=self.state.done + amount)
        self._show(amount, "")

    def part(self, part: PartDone) -> None:
        """One more part is mined."""
        if not sys.stderr.isatty():  # else the bar says enough
            times = ", ".join(f"{name} {part.effort.get(name, 0):.1f} s" for name in ACTIVITIES)
            seconds = part.effort.get("seconds", 0)
            log.info("%s: %d images in %.1f s (%s)", part.part, part.images, seconds, times)
        self._spent.update(part.effort)
        self._change(
            done=self.state.done + 1,
            images=self.state.images + part.images,
            skipped=self.state.skipped + part.skipped,
            amounts=dict(self._spent),
        )
        images, seconds = self.state.images, self.state.seconds
        self._show(1, f"{images:,} images, {images / max(seconds, 1e-9):,.0f}/s")

    def crew(self, workers: int, failures: int) -> None:
        """Who is at work, and how many units of work have failed so far."""
        self._change(workers=workers, failures=failures)

    def end(self) -> None:
        """All is done."""
        self._change(is_over=True)

    def _change(self, **values: object) -> None:
        times = {"updated": now(), "seconds": time.monotonic() - self._begun}
        self.state = self.state.model_copy(update=values | times)


@contextmanager
def reported(
    runs: Sequence[Store], stage: str, what: str, total: int, done: int = 0
) -> Iterator[Report]:
    """Report on a block: on the terminal, and in these runs.

    Args:
        runs: that are worked on.
        stage: the command.
        what: is done and counted, as "mining, parts".
        total: how much there is in all.
        done: how much of it was done before.
    """
    over = threading.Event()
    state = Progress(what=what, updated=now(), total=total, before=done, done=done)

    def write() -> None:
        for run in runs:
            try:
                run.write(schema.progress_name(stage), report.state.model_dump_json().encode())
            except AtlasError as error:
                log.debug("%s", error)  # nothing depends on it

    def write_now_and_then() -> None:
        while not over.wait(_EVERY):
            write()

    with progress(what, total, done) as show:
        report = Report(state, show)
        thread = threading.Thread(target=write_now_and_then, daemon=True)
        thread.start()
        try:
            with watched(report.crew):
                yield report
            report.end()
        finally:
            over.set()
            thread.join(_EVERY)  # in an outage of the store it may be at it for long
    write()
    if report.state.amounts:
        log.info("It took %s.", report.state.spent())
