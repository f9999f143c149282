"""What of a net itself an atlas shows: its diagram, and the names of its outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.atlas.drawing.page import Page
from pipeline.atlas.net.diagram import draw_diagram
from pipeline.core.graph.trace import Graph
from pipeline.core.nets.known import Net

_WIDTH, _HEIGHT, _MARGIN, _SIZE = 280.0, 120.0, 4.0, 7.0


@dataclass(frozen=True)
class Outline:
    """What is known of a net whose weights are at hand; of others nothing.

    Attributes:
        diagram: SVG.
        outputs: layer → the names of its feature maps, where these are the net's outputs.
    """

    diagram: bytes = b""
    outputs: Mapping[str, Sequence[str]] = field(default_factory=dict)


def outline_of(net: Net, names: Mapping[int, str]) -> Outline:
    """The outline of a net.

    Args:
        net: with the run's layers.
        names: of its classes.
    """
    return Outline(_diagram(net.graph), outputs_of(net, names))


def outputs_of(net: Net, names: Mapping[int, str]) -> dict[str, list[str]]:
    """Layer → the names of its feature maps, where these are the net's outputs."""
    last = net.graph.layers[-1]
    if last.maps != net.classes or set(names) != set(range(net.classes)):
        return {}
    return {last.name: [names[number] for number in range(net.classes)]}


def _diagram(graph: Graph) -> bytes:
    width = _WIDTH - 2 * _MARGIN
    tried = draw_diagram(Page(_WIDTH, _HEIGHT), _MARGIN, _MARGIN, width, graph, _SIZE)
    page = Page(_WIDTH, tried + 2 * _MARGIN)
    draw_diagram(page, _MARGIN, _MARGIN, width, graph, _SIZE)
    return page.save("svg")
