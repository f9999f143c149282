"""A worker of a cluster."""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import ray

from pipeline.cluster.on_ray.connection import alive
from pipeline.cluster.on_ray.metrics import count
from pipeline.cluster.process import settle, share_of_node


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
        result = self._ready[name](content)
        count(result)
        return result
