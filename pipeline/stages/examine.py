"""Before a run: whether this machine could do its work."""

import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pipeline.config import versions
from pipeline.data.formats.dataset import Dataset
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


def examine(dataset: Dataset, run: Store, must_be: str | None) -> Examined:
    """What this machine is and can do.

    Args:
        dataset: whose first sample is read.
        run: into which something is written, and removed again.
        must_be: an object that must be seen in the run, since somebody else wrote it.
    """
    gpus = tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))
    return Examined(
        platform.node(), gpus, versions(), _why_not_read(dataset), _why_not_written(run, must_be)
    )


def _why_not_read(dataset: Dataset) -> str | None:
    try:
        next(iter(dataset.read(dataset.parts()[0])))
    except Exception as error:  # every file system has errors of its own
        return one_line(str(error)) or type(error).__name__
    return None


def _why_not_written(run: Store, must_be: str | None) -> str | None:
    if must_be is not None and not run.exists(must_be):
        return f"{run.url} is another folder there than here; put --run where all see it."
    name = f"doctor-{uuid.uuid4().hex}"
    try:
        run.write(name, b"written")
        run.fs.rm(run.path(name))
    except Exception as error:  # every file system has errors of its own
        return one_line(str(error)) or type(error).__name__
    return None
