"""A worker of a cluster, and what it is sent."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import ray

from pipeline.cluster.connection import alive
from pipeline.cluster.process import settle, share_of_node

Prepared = TypeVar("Prepared")
Content = TypeVar("Content")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Job(Generic[Prepared, Content, Result]):
    """What workers are sent once.

    Attributes:
        prepare: makes what the work needs, given a worker's device.
        do: a unit of work, given that.
    """

    prepare: Callable[[str], Prepared]
    do: Callable[[Prepared, Content], Result]

    def on(self, device: str) -> Callable[[Content], Result]:
        """What does a unit on this device."""
        return partial(self.do, self.prepare(device))


class Worker:
    """An actor that holds what it has prepared for one job, and does units of work of it.

    An actor's process is its own, while Ray hands a task that asks for a GPU any idle process,
    and that may hold the context of another GPU.

    Args:
        device: it works on.
        gpus: that it holds.
    """

    def __init__(self, device: str, gpus: float = 0.0) -> None:
        settle()
        self._device, self._gpus = device, gpus
        self._ready: dict[str, Callable[[Any], Any]] = {}

    def ready(self) -> str:
        """The node on which the worker has found its place."""
        here = ray.get_runtime_context().get_node_id()
        if self._gpus:
            (node,) = [node for node in alive() if node["NodeID"] == here]
            share_of_node(node["Resources"].get("CPU", 1) * self._gpus / node["Resources"]["GPU"])
        return here

    def do(self, reference: Sequence[Any], content: Any) -> Any:
        """Do a unit of a job; that is named within a list, else Ray would bring it every time."""
        name = reference[0].hex()
        if name not in self._ready:
            self._ready.clear()
            gc.collect()  # an old job's nets are cycles
            self._ready[name] = ray.get(reference[0]).on(self._device)
        return self._ready[name](content)
