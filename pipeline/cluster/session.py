"""Where the work of a command is done: by threads of this process, or on a Ray cluster.

Ray takes a second to be imported and several to start, which is longer than small jobs take.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pipeline import schema
from pipeline.cluster import here
from pipeline.cluster.crew import Crew
from pipeline.cluster.seats import Seats
from pipeline.data.store import Store
from pipeline.request import Workforce

_FEW = 25_000
"""Pictures: up to so many are left to threads. Processes would take some eight seconds to start,
and do no more than threads on two cores; on many, where these wait for Python's lock, a tenth more
of so few is less than the start takes."""


@dataclass(frozen=True)
class _Place:
    """How things are done there."""

    seats: Callable[[Workforce], Seats]
    crew: Callable[[Seats], Crew]
    require_in_sight: Callable[[Store, str, str], None]


@dataclass
class _Session:
    """A place, and who did the last work there: starting others takes seconds."""

    place: _Place
    crew: Crew | None = None


_session: _Session | None = None


@contextmanager
def connected(address: str | None = None, pictures: int | None = None) -> Iterator[None]:
    """A place to work at for as long as the block lasts, and the blocks within it.

    Args:
        address: of a Ray cluster; None means the one that this process belongs to, else this
            machine.
        pictures: about how many there are to look at, if that is known: few are left to threads
            of this process, unless it belongs to a cluster.

    Raises:
        RequestError: no cluster answers at the address.
    """
    global _session
    if _session is not None:
        yield
        return
    try:
        with ExitStack() as ending:
            few = pictures is not None and pictures <= _FEW
            if few and not is_elsewhere(address) and here.is_enough():
                place = _Place(here.seats, here.Threads, lambda *_: None)
            else:
                place = _on_ray(address, ending)
            _session = _Session(place)
            ending.callback(dismiss)
            yield
    finally:
        _session = None


def is_elsewhere(address: str | None) -> bool:
    """Whether the work is for a cluster: it is asked for, or this process belongs to one."""
    return bool(address or os.environ.get("RAY_ADDRESS") or _is_on_ray())


def _is_on_ray() -> bool:
    """Whether this process has connected to a cluster by itself."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def _on_ray(address: str | None, ending: ExitStack) -> _Place:
    from pipeline.cluster.on_ray import connection, crew, nodes

    ending.enter_context(connection.connected(address))
    return _Place(connection.seats, crew.RayCrew, nodes.require_in_sight)


def seats(asked: Workforce) -> Seats:
    """Seats for the workers asked for.

    Raises:
        RequestError: this machine can never seat that many.
    """
    return _current().place.seats(asked)


def require_in_sight(place: Store, name: str = schema.RUN, option: str = "--run") -> None:
    """Refuse a place in a folder that a node of the cluster does not see, before any work.

    Args:
        place: where the work's results go.
        name: of what is there already; "" for the folder itself.
        option: which names the place.

    Raises:
        RequestError: naming such a node, and the remedy.
    """
    _current().place.require_in_sight(place, name, option)


def crew_of(seats: Seats) -> Crew:
    """Those who are here already, if they sit as they should, else new ones."""
    session = _current()
    if session.crew is None or session.crew.seats != seats:
        dismiss()
        session.crew = session.place.crew(seats)
    return session.crew


def dismiss(crew: Crew | None = None) -> None:
    """Send home whoever waits for more work; the next work finds workers of its own.

    Args:
        crew: only if it is they.
    """
    session = _session
    if session is None or session.crew is None or (crew is not None and crew is not session.crew):
        return
    leaving, session.crew = session.crew, None
    leaving.dismiss()


def _current() -> _Session:
    if _session is None:
        raise RuntimeError("work is done in a block of `connected`")
    return _session
