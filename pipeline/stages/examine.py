"""Before a run: whether this machine could do its work."""

import platform
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.config import versions
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.errors import one_line


@dataclass(frozen=True)
class Examined:
    """What a machine is, and what it cannot do.

    Attributes:
        machine: its name.
        gpus: their names.
        versions: of what results may depend on.
        data: why it cannot read the dataset; None if it can.
        run: why it cannot write into the run; None if it can.
    """

    machine: str
    gpus: tuple[str, ...]
    versions: Mapping[str, str]
    data: str | None
    run: str | None


def examine(dataset: Dataset, part: Part, run: Store, seen: str) -> Examined:
    """What this machine is and can do.

    Args:
        dataset: that it has to read.
        part: of it, whose first sample is read.
        run: into which something is written, and removed again.
        seen: an object in the run that somebody else has written.
    """
    gpus = tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))
    data, writing = _why_not_read(dataset, part), _why_not_written(run, seen)
    return Examined(platform.node(), gpus, versions(), data, writing)


def _why_not_read(dataset: Dataset, part: Part) -> str | None:
    try:
        next(dataset.read(part), None)
    except Exception as error:  # every file system has errors of its own
        return one_line(str(error)) or type(error).__name__
    return None


def _why_not_written(run: Store, seen: str) -> str | None:
    if not run.exists(seen):
        return f"{run.url} is another folder there than here; put --run where all see it"
    try:
        with trace(run):
            return None
    except Exception as error:  # every file system has errors of its own
        return one_line(str(error)) or type(error).__name__


@contextmanager
def trace(run: Store) -> Iterator[str]:
    """The name of an object that is in a run as long as the block lasts.

    Raises:
        WriteError: it cannot be written.
    """
    name = f"doctor-{uuid.uuid4().hex}"
    run.write(name, b"written")
    try:
        yield name
    finally:
        run.fs.rm(run.path(name))
        if run.is_local:
            with suppress(OSError):  # it holds something, as it does if it is a run already
                Path(run.path()).rmdir()
