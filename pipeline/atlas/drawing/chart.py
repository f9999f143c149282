"""Lines over two axes, in an area of a page."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import HAIR, INK, POINT, QUIET
from pipeline.atlas.drawing.type import leading, text_width

Range = tuple[float, float]


def round_range(values: Sequence[float], steps: int = 4) -> tuple[Range, list[float]]:
    """A range around values that ends at round numbers, and some of these within it."""
    ticks = MaxNLocator(steps, steps=[1, 2, 2.5, 5, 10]).tick_values(min(values), max(values))
    return (float(ticks[0]), float(ticks[-1])), [float(tick) for tick in ticks]


class Chart:
    """A chart.

    Args:
        page: to draw on.
        area: of the plot itself; what its axes say is outside, below and to the left.
        across: the values at its left and right edge.
        up: those at its lower and upper edge.
        size: of the type, in points.
    """

    def __init__(self, page: Page, area: Area, across: Range, up: Range, size: float) -> None:
        self.page, self.area, self.across, self.up, self.size = page, area, across, up, size

    def x(self, value: float) -> float:
        """Where a value lies across the page."""
        first, last = self.across
        return self.area.x + (value - first) / (last - first) * self.area.width

    def y(self, value: float) -> float:
        """Where a value lies down the page."""
        first, last = self.up
        return self.area.bottom - (value - first) / (last - first) * self.area.height

    def axes(self, xs: Mapping[float, str], ys: Mapping[float, str]) -> None:
        """Rules at values up, and what values are called; what has no room is left out."""
        for value, text in ys.items():
            y = self.y(value)
            self.page.rule((self.area.x, y), (self.area.right, y), HAIR, 0.2)
            top = y - leading(self.size) / 2
            self.page.text(self.area.x - 1, top, text, self.size, colour=QUIET, align="right")
        end = float("-inf")
        for value, text in sorted(xs.items()):
            x, wide = self.x(value), text_width(text, self.size)
            if x - wide / 2 >= end:
                self.page.text(
                    x, self.area.bottom + 0.6, text, self.size, colour=QUIET, align="center"
                )
                end = x + wide / 2 + self.size * POINT * 0.6

    def line(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        colour: str = INK,
        line: float = 0.45,
        *,
        dashed: bool = False,
    ) -> None:
        """A line through points; one where a value is nan ends there. `line` in millimetres."""
        self.page.axes.plot(
            [self.x(value) for value in xs],
            [self.y(value) for value in ys],
            color=colour,
            linewidth=line / POINT,
            linestyle=(0, (2.5, 2)) if dashed else "-",
            solid_joinstyle="round",
            zorder=1,
        )

    def dots(
        self, xs: Sequence[float], ys: Sequence[float], colour: str = INK, size: float = 1.0
    ) -> None:
        """Dots at points; `size` in millimetres."""
        self.page.axes.plot(
            [self.x(value) for value in xs],
            [self.y(value) for value in ys],
            color=colour,
            marker="o",
            markersize=size / POINT,
            markeredgewidth=0,
            linestyle="none",
            zorder=1,
        )
