"""What every node is asked before a run; first, whether it sees a run that is a folder."""

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline import schema
from pipeline.cluster.connection import alive
from pipeline.data.store import Store
from pipeline.errors import MissingDataError, RequestError

T = TypeVar("T")

_TIMEOUT = 120.0
"""Seconds that nodes may take to answer, and to start this program if they have not."""


def require_in_sight(place: Store, name: str = schema.RUN, option: str = "--run") -> None:
    """Refuse a place in a folder that a node of the cluster does not see, before any work.

    Args:
        place: where the work's results go.
        name: of what is there already; "" for the folder itself.
        option: which names the place.

    Raises:
        RequestError: naming such a node, and the remedy.
    """
    if not place.is_local or len(alive()) == 1:
        return
    for blind in asked_everywhere(_blind, place.path(name)).values():
        if isinstance(blind, str):
            raise RequestError(
                f"{place.url} is a folder of this machine, but {blind}, a node of the cluster, "
                f"does not see it; put {option} where all see it: in a bucket or on a shared disk."
            )


def asked_everywhere(function: Callable[..., T], *arguments: object) -> dict[str, T | RayError]:
    """What a function returns on each node, by the node's name in hexadecimal.

    A node that cannot run it, or is gone, has an error instead; one that is busy answers too, and
    one that does not answer in time is left out.
    """
    answers = {_ask(node["NodeID"], function, arguments): node["NodeID"] for node in alive()}
    said: dict[str, T | RayError] = {}
    for answer in ray.wait(list(answers), num_returns=len(answers), timeout=_TIMEOUT)[0]:
        try:
            said[answers[answer]] = ray.get(answer)
        except RayError as error:
            said[answers[answer]] = error
    return said


def _ask(node: str, function: Callable[..., object], arguments: Sequence[object]) -> Any:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    return task.remote(*arguments)


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
