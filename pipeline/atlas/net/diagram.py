"""The diagram of a net and its deconvnet, drawn from the net's own graph.

Above, left to right, the way up; below, right to left, the way down; between them the switches
that each max pool hands to its unpooling.
"""

import math

from pipeline.atlas.drawing.page import Area, Page, Pixels
from pipeline.atlas.drawing.style import (
    ACCENT,
    HAIR,
    INK,
    MID_GREY,
    PAPER,
    POINT,
    QUIET,
    SECOND,
    WASH,
)
from pipeline.atlas.drawing.type import LINE, fit, leading
from pipeline.atlas.net.columns import Column, columns
from pipeline.core.graph.trace import Graph

_UP, _DOWN, _SWITCHES = "#cfe3f1", "#f6dcc8", "#009e73"
_SHEETS = 3
_CAPTIONS = 11.5  # lines of type above, between and below the two rows
_TURN = ("one activation", "the strongest of a", "map; all else zero")


def draw_diagram(
    page: Page,
    x: float,
    y: float,
    width: float,
    graph: Graph,
    size: float,
    picture: Pixels | None = None,
    projection: Pixels | None = None,
) -> float:
    """Draw the diagram.

    Args:
        page: where.
        x: of the left edge.
        y: of the upper edge.
        width: in millimetres.
        graph: of the net, behind its last layer nothing is shown.
        size: of the type, in points.
        picture: an example of the input, (H, W, 3).
        projection: an example of what comes back, as large.

    Returns:
        How high it is.
    """
    diagram = _Diagram(page, x, y, width, graph, size)
    diagram.draw(picture, projection)
    return diagram.height


class _Diagram:
    """The lengths of one diagram, and what is drawn with them."""

    def __init__(
        self, page: Page, x: float, y: float, width: float, graph: Graph, size: float
    ) -> None:
        self.page, self.left, self.columns = page, x, columns(graph)
        self.input = next(iter(graph.steps.values())).shape
        self.pitch = width / (len(self.columns) + 2)
        said = [
            line
            for column in self.columns
            for line in (*column.up, *column.down, _shape(column.shape))
        ]
        self.size = min(fit(line, size, False, 0.93 * self.pitch)[1] for line in said)
        self.line = leading(size)
        # the input is as large as it may be in its place
        self.tallest = 0.86 * width / (len(self.columns) + 2)
        self.height = 2 * self.tallest + _CAPTIONS * size * POINT * LINE
        self.up_middle = y + 3.3 * self.line + self.tallest / 2
        self.down_middle = y + self.height - 2.4 * self.line - self.tallest / 2
        # where labels start: above and under the way up, below the way down
        self.above = self.up_middle - self.tallest / 2 - 3.3 * self.line
        self.under = self.up_middle + self.tallest / 2 + 0.2 * self.line
        self.below = self.down_middle + self.tallest / 2 + 0.3 * self.line

    def draw(self, picture: Pixels | None, projection: Pixels | None) -> None:
        self._ends(picture, projection)
        widths = [self._extent(column)[0] / 2 for column in self.columns]
        x = [self._x(n) for n in range(len(self.columns) + 2)]
        before = [self.tallest / 2, *widths]
        for n in range(len(self.columns)):
            left, right = x[n] + before[n], x[n + 1] - before[n + 1]
            self._arrow((left, self.up_middle), (right, self.up_middle))
            self._arrow((right, self.down_middle), (left, self.down_middle))
        for n, column in enumerate(self.columns, start=1):
            self._column(x[n], column)
        self._turn(x[-2] + widths[-1], x[-1])

    def _x(self, place: int) -> float:
        return self.left + (place + 0.5) * self.pitch

    def _arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        gap = 0.25 * self.line * (1 if end[0] > start[0] else -1)
        if abs(end[0] - start[0]) > 1.2 * self.line:
            start, end = (start[0] + gap, start[1]), (end[0] - gap, end[1])
            self.page.arrow(start, end, QUIET, 0.08 * self.line, head=0.55 * self.line)

    def _extent(self, column: Column) -> tuple[float, float]:
        """(width, height) of a column's maps: wider with more maps, higher with larger ones."""
        maps, height, _ = column.shape
        tall = self.tallest * max(0.12, math.sqrt(height / self.input[1]))
        if column.kind != "conv":
            return 0.16 * self.pitch, tall
        return self.pitch * min(0.66, 0.1 + 0.052 * math.log2(max(2, maps))), tall

    def _column(self, x: float, column: Column) -> None:
        self._labels(x, self.above, column.name if column.kind == "conv" else "", *column.up)
        self._maps(x, self.up_middle, column, _UP, ACCENT)
        self._label(x, self.under, _shape(column.shape), QUIET)
        self._maps(x, self.down_middle, column, _DOWN, SECOND)
        if column.kind == "max pool":
            self._switches(x, column)
        for n, line in enumerate(column.down):
            self._label(x, self.below + n * self.line, line, QUIET)

    def _labels(self, x: float, y: float, title: str, *lines: str) -> None:
        """A title, and lines below it."""
        self._label(x, y, title, INK, bold=True)
        for n, line in enumerate(lines, start=1):
            self._label(x, y + n * self.line, line, QUIET)

    def _label(self, x: float, y: float, text: str, colour: str, bold: bool = False) -> None:
        width = 0.94 * self.pitch
        self.page.text(
            x, y, text, self.size, colour=colour, bold=bold, align="center", width=width,
            keep_end=True,
        )  # fmt: skip

    def _maps(self, x: float, y: float, column: Column, fill: str, edge: str) -> None:
        width, height = self._extent(column)
        if column.kind != "conv":
            self.page.box(Area(x - width / 2, y - height / 2, width, height), edge, 0.1, fill=PAPER)
            return
        shift = min(0.05 * self.pitch, 0.12 * height)
        spread = shift * (_SHEETS - 1)
        width, height = width - spread, height - spread
        for n in reversed(range(_SHEETS)):
            left, top = x - (width + spread) / 2 + n * shift, y - (height + spread) / 2
            top += (_SHEETS - 1 - n) * shift
            self.page.box(Area(left, top, width, height), edge, 0.1, fill=fill)

    def _switches(self, x: float, column: Column) -> None:
        """From a max pool down to its unpooling."""
        half = self._extent(column)[1] / 2
        start, end = self.under + 1.15 * self.line, self.down_middle - half - 0.2 * self.line
        middle, thick = (start + end) / 2, 0.11 * self.line
        above, below = (x, middle - 0.7 * self.line), (x, middle + 0.75 * self.line)
        self.page.rule((x, start), above, _SWITCHES, thick, dashed=True)
        self._label(x, middle - 0.65 * self.line, "switches", _SWITCHES, bold=True)
        self.page.arrow(below, (x, end), _SWITCHES, thick, dashed=True, head=0.6 * self.line)

    def _ends(self, picture: Pixels | None, projection: Pixels | None) -> None:
        """The input, above, and the projection, below."""
        side, x = self.tallest, self._x(0)
        left = x - side / 2
        for middle, pixels, fill in (
            (self.up_middle, picture, WASH),
            (self.down_middle, projection, MID_GREY),
        ):
            area = Area(left, middle - side / 2, side, side)
            if pixels is None:
                self.page.box(area, HAIR, 0.3, fill=fill)
            else:
                self.page.picture(area, pixels, HAIR)
        self._labels(x, self.above, "input")
        self._label(x, self.under, _shape(self.input), QUIET)
        y = self.under + 1.4 * self.line
        self.page.text(left, y, "the net →", self.size, colour=ACCENT, bold=True)
        y = self.down_middle - side / 2 - 1.4 * self.line
        self.page.text(left, y, "← the deconvnet", self.size, colour=SECOND, bold=True)
        self._labels(x, self.below, "projection", "not rectified")

    def _turn(self, start: float, x: float) -> None:
        """At the right end: one activation stays and goes down."""
        self._arrow((start, self.up_middle), (x - 0.2 * self.pitch, self.up_middle))
        side = 0.34 * self.pitch
        area = Area(x - side / 2, self.up_middle - side / 2, side, side)
        self.page.box(area, INK, 0.1, fill=MID_GREY)
        dot = side / 5
        self.page.box(Area(area.x + 2.6 * dot, area.y + dot, dot, dot), INK, 0, fill=PAPER)
        self._labels(x, self.above, *_TURN)
        corner, thick = (x, self.down_middle), 0.08 * self.line
        self.page.rule((x, area.bottom + 0.3 * self.line), corner, QUIET, thick)
        end = (start + 0.2 * self.line, self.down_middle)
        self.page.arrow(corner, end, QUIET, thick, head=0.55 * self.line)


def _shape(shape: tuple[int, int, int]) -> str:
    maps, height, width = shape
    return f"{maps} × {height}×{width}"
