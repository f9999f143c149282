"""The diagram of a net and its deconvnet, drawn from the net's own graph.

Above, left to right, the way up; below, right to left, the way down; between them the switches
that each max pool hands to its unpooling.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.atlas.drawing.page import Area, Page
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
from pipeline.atlas.drawing.type import fit
from pipeline.atlas.net.columns import Column, columns
from pipeline.core.graph.trace import Graph

_UP, _DOWN = "#cfe3f1", "#f6dcc8"
_SHEETS = 3
_LINE = 1.3
_CAPTIONS = 11.5  # lines of type above, between and below the two rows
_WIDTH, _MARGIN = 297.0, 8.0
_KEPT = ("one activation", "the strongest of a", "map; all else zero")


def diagram_page(graph: Graph, picture: NDArray[np.uint8] | None = None) -> Page:
    """The diagram on a page of its own.

    Args:
        graph: of the net, behind its last layer nothing is shown.
        picture: an example of its input, (H, W, 3).
    """
    shown, size = columns(graph), 7.5
    height = diagram_height(_WIDTH - 2 * _MARGIN, len(shown), size)
    page = Page(_WIDTH, height + 2 * _MARGIN, density=8)
    area = Area(_MARGIN, _MARGIN, _WIDTH - 2 * _MARGIN, height)
    draw_diagram(page, area, graph, size, picture)
    return page


def diagram_height(width: float, shown: int, size: float) -> float:
    """How high a diagram of so many columns is."""
    return 2 * _tallest(width, shown) + _CAPTIONS * size * POINT * _LINE


def _tallest(width: float, shown: int) -> float:
    """The height of the input: as large as it may be in its place."""
    return 0.86 * width / (shown + 2)


def draw_diagram(
    page: Page,
    area: Area,
    graph: Graph,
    size: float,
    picture: NDArray[np.uint8] | None = None,
    projection: NDArray[np.uint8] | None = None,
) -> None:
    """Draw the diagram into an area.

    Args:
        page: where.
        area: as high as `diagram_height` says.
        graph: of the net.
        size: of the type, in points.
        picture: an example of the input, (H, W, 3).
        projection: an example of what comes back, as large.
    """
    _Diagram(page, area, columns(graph), graph, size).draw(picture, projection)


class _Diagram:
    """The lengths of one diagram, and what is drawn with them."""

    def __init__(
        self, page: Page, area: Area, shown: Sequence[Column], graph: Graph, size: float
    ) -> None:
        self.page, self.area, self.columns = page, area, shown
        self.pitch = area.width / (len(shown) + 2)
        said = [
            line for column in shown for line in (*column.up, *column.down, _shape(column.shape))
        ]
        self.size = min(fit(line, size, False, 0.93 * self.pitch)[1] for line in said)
        self.line = size * POINT * _LINE
        self.input = next(iter(graph.steps.values())).shape
        self.tallest = _tallest(area.width, len(shown))
        self.up_middle = area.y + 3.3 * self.line + self.tallest / 2
        self.down_middle = area.bottom - 2.4 * self.line - self.tallest / 2

    def draw(self, picture: NDArray[np.uint8] | None, projection: NDArray[np.uint8] | None) -> None:
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
        return self.area.x + (place + 0.5) * self.pitch

    def _arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        gap = 0.25 * self.line * (1 if end[0] > start[0] else -1)
        if abs(end[0] - start[0]) > 1.2 * self.line:
            self.page.arrow(
                (start[0] + gap, start[1]), (end[0] - gap, end[1]), QUIET, 0.08 * self.line,
                head=0.55 * self.line,
            )  # fmt: skip

    def _extent(self, column: Column) -> tuple[float, float]:
        """(width, height) of a column's maps: wider with more maps, higher with larger ones."""
        maps, height, _ = column.shape
        tall = self.tallest * max(0.12, math.sqrt(height / self.input[1]))
        if column.kind != "conv":
            return 0.16 * self.pitch, tall
        return self.pitch * min(0.66, 0.1 + 0.052 * math.log2(max(2, maps))), tall

    def _column(self, x: float, column: Column) -> None:
        above = self.up_middle - self.tallest / 2 - 3.3 * self.line
        name = [column.name] if column.kind == "conv" else [""]
        for n, line in enumerate([*name, *column.up]):
            colour = INK if n == 0 else QUIET
            self._label(x, above + n * self.line, line, colour, bold=n == 0)
        self._maps(x, self.up_middle, column, _UP, ACCENT)
        under = self.up_middle + self.tallest / 2 + 0.2 * self.line
        self._label(x, under, _shape(column.shape), QUIET)
        self._maps(x, self.down_middle, column, _DOWN, SECOND)
        if column.kind == "max pool":
            self._switches(x, column, under)
        below = self.down_middle + self.tallest / 2 + 0.3 * self.line
        for n, line in enumerate(column.down):
            self._label(x, below + n * self.line, line, QUIET)

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

    def _switches(self, x: float, column: Column, under: float) -> None:
        half = self._extent(column)[1] / 2
        start, end = under + 1.15 * self.line, self.down_middle - half - 0.2 * self.line
        middle = (start + end) / 2
        colour = "#009e73"
        thick = 0.11 * self.line
        self.page.rule((x, start), (x, middle - 0.7 * self.line), colour, thick, dashed=True)
        self._label(x, middle - 0.65 * self.line, "switches", colour, bold=True)
        self.page.arrow(
            (x, middle + 0.75 * self.line), (x, end), colour, thick, dashed=True,
            head=0.6 * self.line,
        )  # fmt: skip

    def _ends(
        self, picture: NDArray[np.uint8] | None, projection: NDArray[np.uint8] | None
    ) -> None:
        """The input, above, and the projection, below."""
        side = self.tallest
        x = self._x(0)
        for middle, pixels, fill in (
            (self.up_middle, picture, WASH),
            (self.down_middle, projection, MID_GREY),
        ):
            area = Area(x - side / 2, middle - side / 2, side, side)
            if pixels is None:
                self.page.box(area, HAIR, 0.3, fill=fill)
            else:
                self.page.picture(area, pixels, HAIR)
        above = self.up_middle - self.tallest / 2 - 3.3 * self.line
        self._label(x, above, "input", INK, bold=True)
        under = self.up_middle + self.tallest / 2 + 0.2 * self.line
        self._label(x, under, _shape(self.input), QUIET)
        left = x - side / 2
        self.page.text(
            left, under + 1.4 * self.line, "the net →", self.size, colour=ACCENT, bold=True
        )
        y = self.down_middle - self.tallest / 2 - 1.4 * self.line
        self.page.text(left, y, "← the deconvnet", self.size, colour=SECOND, bold=True)
        below = self.down_middle + self.tallest / 2 + 0.3 * self.line
        self._label(x, below, "projection", INK, bold=True)
        self._label(x, below + self.line, "not rectified", QUIET)

    def _turn(self, start: float, x: float) -> None:
        """At the right end: one activation is kept and goes down."""
        self._arrow((start, self.up_middle), (x - 0.2 * self.pitch, self.up_middle))
        side = 0.34 * self.pitch
        area = Area(x - side / 2, self.up_middle - side / 2, side, side)
        self.page.box(area, INK, 0.1, fill=MID_GREY)
        dot = side / 5
        self.page.box(Area(area.x + 2.6 * dot, area.y + dot, dot, dot), INK, 0, fill=PAPER)
        above = self.up_middle - self.tallest / 2 - 3.3 * self.line
        for n, line in enumerate(_KEPT):
            self._label(x, above + n * self.line, line, INK if n == 0 else QUIET, bold=n == 0)
        down = [
            (x, area.bottom + 0.3 * self.line),
            (x, self.down_middle),
            (start + 0.2 * self.line, self.down_middle),
        ]
        self.page.rule(down[0], down[1], QUIET, 0.08 * self.line)
        self.page.arrow(down[1], down[2], QUIET, 0.08 * self.line, head=0.55 * self.line)


def _shape(shape: tuple[int, int, int]) -> str:
    maps, height, width = shape
    return f"{maps} × {height}×{width}"
