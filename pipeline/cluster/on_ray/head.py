"""A cluster's head, which may die at any time; Ray ends a process that waits for it by itself."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.errors import IncompleteError

_KNOCK = 5.0
"""Seconds that an address may take to accept a connection; Ray itself tries for 90."""

_PATIENCE, _LAST = 20.0, 45.0
"""Seconds that the head may be silent: until an error says so, and until the process ends, if that
waits for the head in a call that cannot be interrupted. Ray would end it after 60, unexplained."""

_LOOK = 3.0
"""Seconds between looks."""

log = logging.getLogger(__name__)


def knock(address: str) -> None:
    """Fail at once where nobody listens.

    Raises:
        OSError: no connection.
    """
    host, _, port = address.rpartition(":")
    if "://" not in address and host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK).close()


def require_head(since: float) -> float:
    """Look whether the cluster's head answers.

    Args:
        since: when it last did, by the monotonic clock.

    Returns:
        When it last did.

    Raises:
        IncompleteError: it has not for too long.
    """
    return _look(ray.get_runtime_context().gcs_address, since, _PATIENCE)


def _look(address: str, since: float, patience: float) -> float:
    try:
        knock(address)
    except OSError as error:
        if time.monotonic() - since < patience:
            return since
        raise IncompleteError(
            f"The cluster's head at {address} does not answer any more ({error}); when it is "
            "back, give the same command again."
        ) from error
    return time.monotonic()


@contextmanager
def head_watched() -> Iterator[None]:
    """End the process with a sentence where the head is gone and nobody else can say so."""
    address, over = ray.get_runtime_context().gcs_address, threading.Event()

    def watch() -> None:
        seen = time.monotonic()
        while not over.wait(_LOOK):
            try:
                seen = _look(address, seen, _LAST)
            except IncompleteError as error:
                log.error("%s", error)
                os._exit(error.exit_code)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
