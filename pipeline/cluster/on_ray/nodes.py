"""What every node is asked before a run; first, whether it sees a run that is a folder."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline import schema
from pipeline.cluster.on_ray.connection import alive
from pipeline.cluster.sight import blind
from pipeline.data.store import Store
from pipeline.errors import RequestError

T = TypeVar("T")

_TIMEOUT = 120.0
"""Seconds that nodes may take to answer, and to start this program if they have not."""


def require_in_sight(place: Store, name: str = schema.RUN, option: str = "--run") -> None:
    """As `session.require_in_sight`, on Ray."""
    if not place.is_local or len(alive()) == 1:
        return
    for node in asked_everywhere(blind, place.path(name)).values():
        if isinstance(node, str):
            raise RequestError(
                f"{place.url} is a folder of this machine, but {node}, a node of the cluster, "
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
