"""A connection to a Ray cluster, and what the cluster has room for."""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import ray

from pipeline.cluster.on_ray.head import head_watched, knock
from pipeline.cluster.seats import Seats, chosen_seats, require_room, room_on
from pipeline.errors import RequestError, first_line
from pipeline.request import Workforce
from pipeline.terminal import waiting

_WRONG_TOKEN = "InvalidAuthToken"
"""In what Ray says where its cluster wants a token."""

_LONGEST_FOLDER = 30
"""Bytes: a socket's name has at most 107 of them, of which Ray adds up to 76."""

log = logging.getLogger(__name__)


_is_own = False
"""Whether the cluster is a local Ray that this process started: no node will ever join it."""


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """A connection to a cluster for as long as the block lasts.

    Args:
        address: of a cluster; None means the one that this process belongs to, else a local Ray.

    Raises:
        RequestError: no cluster answers at the address.
    """
    global _is_own
    if ray.is_initialized():
        yield
        return
    try:
        with ExitStack() as ending:
            place = address or os.environ.get("RAY_ADDRESS") or "local"
            folder = ending.enter_context(_short_folder()) if place == "local" else None
            _connect(place, folder)
            _is_own = place == "local"
            ending.callback(ray.shutdown)
            ending.enter_context(head_watched())
            yield
    finally:
        _is_own = False


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
        "check --address and RAY_ADDRESS, or leave them out to work on this machine alone."
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


def seats(asked: Workforce) -> Seats:
    """Seats for the workers asked for; nodes may come later, but for a local Ray.

    Raises:
        RequestError: a local Ray can never seat that many.
    """
    nodes = _nodes()
    seat = chosen_seats(asked, nodes)
    if _is_own:
        require_room(seat, nodes)
    return seat


def room(seat: Seats) -> int:
    """How many workers the nodes that are there could hold if they held nothing else."""
    return room_on(_nodes(), seat)


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
