"""A run that is a folder of some machine: who sees it."""

import platform
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline import schema
from pipeline.cluster.connection import alive
from pipeline.data.store import Store
from pipeline.errors import MissingDataError, RequestError

_TIMEOUT = 60.0
"""Seconds that nodes may take to answer; who comes later is asked as a worker."""


def require_in_sight(run: Store) -> None:
    """Refuse a run in a folder that a node of the cluster does not see, before any work.

    Args:
        run: which has begun.

    Raises:
        RequestError: naming such a node, and the remedy.
    """
    nodes = [node["NodeID"] for node in alive()]
    if not run.is_local or len(nodes) == 1:
        return
    answers = [_ask(node, run.path(schema.RUN)) for node in nodes]
    for answer in ray.wait(answers, num_returns=len(answers), timeout=_TIMEOUT)[0]:
        try:
            blind = ray.get(answer)
        except RayError:  # it cannot run this project, or is gone: its workers will tell
            continue
        if blind:
            raise RequestError(
                f"{run.url} is a folder of this machine, but {blind}, a node of the cluster, does "
                "not see it; put --run where all see it: in a bucket or on a shared disk."
            )


def _ask(node: str, path: str) -> Any:
    """A promise of what `_blind` says on this node; one that is busy answers too."""
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(_blind).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    return task.remote(path)


def _blind(path: str) -> str | None:
    """The name of this machine, if it does not see a file."""
    return None if Path(path).exists() else platform.node()


def look_for(run: Store) -> None:
    """Before a unit of work: look whether this machine sees the run; it may have come late.

    Raises:
        MissingDataError: it does not, and what it stored would be lost.
    """
    if run.is_local and _blind(run.path(schema.RUN)):
        raise MissingDataError(
            f"{run.url} is not found on {platform.node()}; mount it there, or leave that node out."
        )
