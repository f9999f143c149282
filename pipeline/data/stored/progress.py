"""How far a stage is, kept in the run for whoever looks from elsewhere; at the end a summary."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.filesize import decimal

from pipeline import schema
from pipeline.data.effort import ACTIVITIES
from pipeline.data.store import Store
from pipeline.terminal import span


class Progress(BaseModel):
    """A stage of a run, as its driver saw it last.

    Attributes:
        what: is done and counted, as "mining, parts".
        updated: when this was written.
        seconds: since this attempt began, whatever clocks say.
        is_over: whether the attempt has come to its end.
        total: how much there is to do in all.
        before: how much of it was done before this attempt.
        done: and how much is done now.
        images: that this attempt has mined.
        skipped: samples that it could not use.
        workers: that have a place now.
        failures: of units of work, which are tried again.
        amounts: what workers spent in all, as in `Effort.amounts`.
    """

    model_config = ConfigDict(extra="forbid")

    what: str
    updated: datetime
    seconds: float = 0.0
    is_over: bool = False
    total: int
    before: int = 0
    done: int = 0
    images: int = 0
    skipped: int = 0
    workers: int = 0
    failures: int = 0
    amounts: dict[str, float] = Field(default_factory=dict)

    @property
    def seconds_left(self) -> float | None:
        """About how many more it will take; None while nothing tells."""
        new = self.done - self.before
        return self.seconds * (self.total - self.done) / new if new else None

    def sentence(self) -> str:
        """All of it for readers."""
        said = [f"{self.what}: {self.done:,} of {self.total:,}"]
        if self.images:
            said.append(f"{self.images:,} images, {self.images / max(self.seconds, 1e-9):,.0f}/s")
        if self.skipped:
            said.append(f"{self.skipped:,} skipped")
        if self.is_over:
            said.append(f"in {span(self.seconds)}")
        else:
            left = "" if self.seconds_left is None else f", about {span(self.seconds_left)} left"
            said.append(f"{self.workers} at work{left}")
        if self.failures:
            said.append(f"{self.failures} failed and were tried again")
        return "; ".join([*said, *([self.spent()] if self.amounts else [])])

    def spent(self) -> str:
        """What the workers took, for readers."""
        seconds, read = self.amounts.get("seconds", 0.0), self.amounts.get("bytes", 0.0)
        parts = (f"{name} {self.amounts.get(name, 0):.3g} s" for name in ACTIVITIES)
        return f"{span(seconds)} of workers ({', '.join(parts)}), {decimal(int(read))} read"


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def read_progress(run: Store, stage: str) -> Progress | None:
    """What a stage's driver wrote last; None where there is nothing that can be read."""
    try:
        return Progress.model_validate_json(run.read(schema.progress_name(stage)))
    except (FileNotFoundError, ValidationError):
        return None
