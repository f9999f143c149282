"""Whether a machine sees the run."""

import platform
from pathlib import Path

from pipeline import schema
from pipeline.data.store import Store
from pipeline.errors import MissingDataError


def blind(path: str) -> str | None:
    """The name of this machine, if it does not see a file."""
    return None if Path(path).exists() else platform.node()


def look_for(run: Store) -> None:
    """Before a unit of work: look whether this machine sees the run; it may have come late.

    Raises:
        MissingDataError: it does not, and what it stored would be lost.
    """
    if run.is_local and blind(run.path(schema.RUN)):
        raise MissingDataError(
            f"{run.url} is not found on {platform.node()}; mount it there, or leave that node out."
        )
