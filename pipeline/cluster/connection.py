"""A connection to a Ray cluster, and what the cluster has room for."""

import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.errors import RequestError

_PATIENCE = 30.0
"""Seconds without room on the cluster until a line says so."""

_KNOCK = 5.0
"""Seconds that a cluster's address may take to accept a connection; Ray itself tries for 90."""

_LONGEST_FOLDER = 30
"""Bytes: a socket's name has at most 107 of them, of which Ray adds up to 76."""

log = logging.getLogger(__name__)


_ending: ExitStack | None = None
"""What is done at the end of the outermost block of `connected`."""


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """A connection to a cluster for as long as the block lasts, and the blocks within it.

    Args:
        address: of a cluster; None means the one that this process belongs to, else a local Ray.

    Raises:
        RequestError: no cluster answers at the address.
    """
    global _ending
    if _ending is not None:
        yield
        return
    try:
        with ExitStack() as _ending:
            if not ray.is_initialized():
                place = address or os.environ.get("RAY_ADDRESS") or "local"
                folder = _ending.enter_context(_short_folder()) if place == "local" else None
                _connect(place, folder)
                _ending.callback(ray.shutdown)
            yield
    finally:
        _ending = None


def at_end(do: Callable[[], object]) -> None:
    """Have something done at the end of the outermost block of `connected`."""
    if _ending is None:
        raise RuntimeError("workers work in a block of `connected`, which sends them home")
    _ending.callback(do)


def _connect(address: str, folder: str | None) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local = address == "local"
    try:
        _knock(address)
        ray.init(
            address=address,
            include_dashboard=False if local else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=folder,
        )
    except Exception as error:  # Ray has no common one for this
        why = first_line(error)
        raise RequestError(
            f"A local Ray does not start ({why}); its files go to RAY_TMPDIR, else to /tmp."
            if local
            else f"No Ray cluster answers at {address} ({why}); "
            "check --address and RAY_ADDRESS, or leave them out for a local Ray."
        ) from error


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


def _knock(address: str) -> None:
    """Fail at once where nobody listens.

    Raises:
        OSError: no connection.
    """
    host, _, port = address.rpartition(":")
    if "://" not in address and host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK).close()


@dataclass(frozen=True)
class Seats:
    """Where workers can sit.

    Attributes:
        workers: how many there will be.
        cpus: processors that each one holds.
        gpus: accelerators that each one holds.
    """

    workers: int
    cpus: int
    gpus: int


def seats(workers: int | None = None, *, accelerated: bool = True) -> Seats:
    """Seats for the workers asked for, or for as many as the cluster holds.

    A worker takes one GPU where there are GPUs, with its share of the node's processors, else
    one processor; the latter always where it is not `accelerated`.

    Raises:
        RequestError: the cluster can never seat that many.
    """
    nodes = [node["Resources"] for node in _nodes() if node["Alive"]]
    with_gpu = [node for node in nodes if accelerated and node.get("GPU", 0) >= 1]
    if with_gpu:
        cpus = max(1, min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpu))
        room = sum(int(min(node["GPU"], node.get("CPU", 0) // cpus)) for node in with_gpu)
        kind = f"GPU with {cpus} CPU"
    else:
        cpus, room = 1, sum(int(node.get("CPU", 0)) for node in nodes)
        kind = "CPU"
    wanted = workers or room
    if not room:
        raise RequestError(
            f"The cluster ({len(nodes)} node{'s'[: len(nodes) != 1]}) has no {kind} for a worker; "
            "add a node, or name another --address."
        )
    if wanted > room:
        raise RequestError(
            f"{wanted} workers need a {kind} each, but the cluster has {room}; "
            f"ask for --workers {room} or fewer."
        )
    return Seats(wanted, cpus, 1 if with_gpu else 0)


def _nodes() -> list[dict[str, Any]]:
    return list(ray.nodes())  # type: ignore[no-untyped-call]


def _nothing() -> None:
    """The smallest piece of work."""


def await_room(seat: Seats) -> None:
    """Wait until the cluster has room for a worker; after a while, say that this is so.

    Raises:
        RequestError: the cluster's processes cannot run this project.
    """
    task = ray.remote(_nothing).options(num_cpus=seat.cpus, num_gpus=seat.gpus)
    first = task.remote()
    while not ray.wait([first], timeout=_PATIENCE)[0]:
        log.warning("Waiting for room: all that the cluster has is in use by others.")
    try:
        ray.get(first)
    except RayError as error:
        raise RequestError(
            f"The cluster's workers cannot run deconv-atlas ({first_line(error)}); "
            "install the same version there."
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says, without its details; its name if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip(".")
