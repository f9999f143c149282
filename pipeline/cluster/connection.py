"""A connection to a Ray cluster, and what the cluster has room for."""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray

from pipeline.cluster.head import head_watched, knock
from pipeline.errors import RequestError
from pipeline.request import Workforce
from pipeline.terminal import waiting

_WRONG_TOKEN = "InvalidAuthToken"
"""In what Ray says where its cluster wants a token."""

_LONGEST_FOLDER = 30
"""Bytes: a socket's name has at most 107 of them, of which Ray adds up to 76."""

_ROUNDING = 1e-6
"""Of tenths of a GPU."""

log = logging.getLogger(__name__)


_ending: ExitStack | None = None
"""What is done at the end of the outermost block of `connected`."""

_is_own = False
"""Whether the cluster is a local Ray that this process started: no node will ever join it."""


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """A connection to a cluster for as long as the block lasts, and the blocks within it.

    Args:
        address: of a cluster; None means the one that this process belongs to, else a local Ray.

    Raises:
        RequestError: no cluster answers at the address.
    """
    global _ending, _is_own
    if _ending is not None:
        yield
        return
    try:
        with ExitStack() as _ending:
            if not ray.is_initialized():
                place = address or os.environ.get("RAY_ADDRESS") or "local"
                folder = _ending.enter_context(_short_folder()) if place == "local" else None
                _connect(place, folder)
                _is_own = place == "local"
                _ending.callback(ray.shutdown)
                _ending.enter_context(head_watched())
            yield
    finally:
        _ending, _is_own = None, False


def at_end(do: Callable[[], object]) -> None:
    """Have something done at the end of the outermost block of `connected`."""
    if _ending is None:
        raise RuntimeError("workers work in a block of `connected`, which sends them home")
    _ending.callback(do)


def _connect(address: str, folder: str | None) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local = address == "local"
    what = "Starting a Ray on this machine" if local else f"Connecting to the Ray at {address}"
    try:
        with waiting(what):
            knock(address)
            ray.init(
                address=address,
                include_dashboard=False if local else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
                _temp_dir=folder,
            )
    except Exception as error:  # Ray has no common one for this
        raise RequestError(_no_cluster(address, error)) from error


def _no_cluster(address: str, error: BaseException) -> str:
    why = first_line(error)
    if address == "local":
        return f"A local Ray does not start ({why}); its files go to RAY_TMPDIR, else to /tmp."
    if _WRONG_TOKEN in str(error) or _WRONG_TOKEN in str(error.__cause__ or error.__context__):
        return (
            f"The Ray cluster at {address} wants a token, and this process has none or another "
            "one: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."
        )
    return (
        f"No Ray cluster answers at {address} ({why}); "
        "check --address and RAY_ADDRESS, or leave them out for a local Ray."
    )


@contextmanager
def _short_folder() -> Iterator[str | None]:
    """A folder for a local Ray where its own would be too long for the names of its sockets.

    Raises:
        RequestError: there is no such place.
    """
    name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    own = os.environ.get(name, "")
    if not sys.platform.startswith("linux") or len(os.fsencode(own)) <= _LONGEST_FOLDER:
        yield None  # Ray's own choice
        return
    no_room = f"The names of Ray's sockets do not fit below {own} ({name})"
    try:
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    except OSError as error:
        raise RequestError(
            f"{no_room}, nor can they be in /tmp ({error.strerror}); "
            f"set RAY_TMPDIR to a folder of at most {_LONGEST_FOLDER} letters."
        ) from error
    log.info("%s; they are in %s.", no_room, folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def seats(asked: Workforce) -> Seats:
    """Seats for the workers asked for, or for as many as the cluster has room for.

    A worker takes one GPU where there are GPUs, with its share of the node's processors, else
    one processor, where nothing else is asked for. Nodes may come later, but for a local Ray.

    Raises:
        RequestError: a local Ray can never seat that many.
    """
    nodes = _nodes()
    gpus = asked.gpus_per_worker or 1.0
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= gpus]
    if asked.gpus == "none" or (asked.gpus == "auto" and not with_gpu):
        gpus = 0.0
    shares = [node.get("CPU", 0) * gpus // node["GPU"] for node in with_gpu] if gpus else []
    cpus = asked.cpus_per_worker or max(1.0, min(shares, default=1.0))
    seat = Seats(asked.workers, cpus, gpus, asked.memory_per_worker or 0)
    if _is_own:
        _require_room(seat, nodes)
    return seat


def _require_room(seat: Seats, nodes: list[dict[str, float]]) -> None:
    """Refuse what no node has, where none will come."""
    there = _room(seat, nodes)
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


def room(seat: Seats) -> int:
    """How many workers the nodes that are there could hold if they held nothing else."""
    return _room(seat, _nodes())


def _room(seat: Seats, nodes: list[dict[str, float]]) -> int:
    return sum(
        int(min(node.get(name, 0) / amount for name, amount in seat.resources.items()) + _ROUNDING)
        for node in nodes
    )


def _nodes() -> list[dict[str, float]]:
    """The resources of each node."""
    return [node["Resources"] for node in alive()]


def alive() -> list[dict[str, Any]]:
    """Ray's records of the nodes that are there."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def draining() -> set[str]:
    """The nodes that are about to be taken away, by their names in hexadecimal."""
    with suppress(Exception):  # of a part of Ray that may change
        from ray._private.state import state

        return set(state.get_draining_nodes())
    return set()


def first_line(error: BaseException) -> str:
    """What an error says, without its details; its name if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip(".")


def last_line(error: BaseException) -> str:
    """The end of what an error says, where that of another process is quoted."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(".")
