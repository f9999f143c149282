"""What workers hold of the machines that they work on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import RequestError
from pipeline.request import Workforce

_ROUNDING = 1e-6
"""Of tenths of a GPU."""

Nodes = Sequence[Mapping[str, float]]
"""The resources of each node, by Ray's names for them."""


@dataclass(frozen=True)
class Seats:
    """Where workers can sit.

    Attributes:
        workers: how many there will be at most; None for as many as have room.
        cpus: processors that each one holds.
        gpus: accelerators that each one holds.
        memory: bytes that each one holds; 0 where they are not placed by memory.
    """

    workers: int | None
    cpus: float
    gpus: float
    memory: int = 0

    @property
    def resources(self) -> dict[str, float]:
        """What one worker holds, as Ray names it."""
        every = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory)}
        return {name: amount for name, amount in every.items() if amount}

    def __str__(self) -> str:
        memory = f" and {self.memory / 2**30:.3g} GiB" if self.memory else ""
        gpus = f"{self.gpus:g} GPU with " if self.gpus else ""
        return f"{gpus}{self.cpus:g} CPU{memory}"


def chosen_seats(asked: Workforce, nodes: Nodes) -> Seats:
    """Seats for the workers asked for, or for as many as there is room for.

    A worker takes one GPU where there are GPUs, with its share of the node's processors, else
    one processor, where nothing else is asked for.
    """
    gpus = asked.gpus_per_worker or 1.0
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= gpus]
    if asked.gpus == "none" or (asked.gpus == "auto" and not with_gpu):
        gpus = 0.0
    shares = [node.get("CPU", 0) * gpus // node["GPU"] for node in with_gpu] if gpus else []
    cpus = asked.cpus_per_worker or max(1.0, min(shares, default=1.0))
    return Seats(asked.workers, cpus, gpus, asked.memory_per_worker or 0)


def require_room(seat: Seats, nodes: Nodes) -> None:
    """Refuse what no node has, where none will come.

    Raises:
        RequestError: there is no room for one worker, or not for as many as are asked for.
    """
    there = room_on(nodes, seat)
    if not there:
        raise RequestError(
            f"This machine has no {seat} for a worker; ask for less, or name the --address of a "
            "cluster."
        )
    if seat.workers and seat.workers > there:
        raise RequestError(
            f"{seat.workers} workers need a {seat} each, but this machine has {there}; "
            f"ask for --workers {there} or fewer."
        )


def room_on(nodes: Nodes, seat: Seats) -> int:
    """How many workers these nodes could hold if they held nothing else."""
    return sum(
        int(min(node.get(name, 0) / amount for name, amount in seat.resources.items()) + _ROUNDING)
        for node in nodes
    )
