"""What all experiments need: units of work done here or on a cluster, and figures stored."""

from collections.abc import Callable, Sequence, Sized
from typing import TypeVar

from pipeline.atlas.drawing.page import Page
from pipeline.cluster import session
from pipeline.cluster import stages as cluster
from pipeline.core.nets.known import Net
from pipeline.data.store import Store
from pipeline.request import OnCluster
from pipeline.terminal import progress

_Unit = TypeVar("_Unit", bound=Sized)
_Result = TypeVar("_Result")


def gathered(
    net: Net,
    units: Sequence[_Unit],
    do: Callable[[Net, _Unit], _Result],
    request: OnCluster,
    what: str,
) -> list[_Result]:
    """What came of each unit, in any order.

    Args:
        net: that they need.
        units: of work, as large as they are long.
        do: one of them.
        request: who does it.
        what: they do, and to what: ``projecting anew, winners``.

    Raises:
        RequestError: the cluster can never seat a worker.
        IncompleteError: some units could not be done.
    """
    numbered = list(enumerate(units))

    def work(net: Net, unit: tuple[int, _Unit]) -> tuple[int, _Result]:
        return len(unit[1]), do(net, unit[1])

    total, done = sum(map(len, units)), list[_Result]()
    with session.connected(request.address, total), progress(what, total) as advance:
        named = "unit {0[0]}".format
        for size, result in cluster.with_net(net, numbered, work, request, "experiment", named):
            done.append(result)
            advance(size)
    return done


def stored(run: Store, name: str, page: Page, *, svg: bool) -> list[str]:
    """Store a figure in each of its forms; their names."""
    names = []
    for form, data in page.figures(svg=svg).items():
        names.append(f"{name}.{form}")
        run.write(names[-1], data)
    return names
