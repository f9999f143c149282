"""How a figure of some width is set: for a page of its own, or for a column of a journal."""

from dataclasses import dataclass

from pipeline.atlas.drawing.type import leading

PRINT = 12.0
"""Pixels per millimetre of what is printed, 305 to the inch: journals ask for 300."""

WIDE = 297.0
"""Width of a figure in millimetres, where nothing else is asked for: a page on its side."""


@dataclass(frozen=True)
class Measures:
    """How a figure of some width is set, in millimetres and points.

    Attributes:
        width: of the page.
    """

    width: float = WIDE

    @property
    def is_page(self) -> bool:
        """Whether it is a page by itself; else it stands in a column of somebody else's."""
        return self.width >= 0.8 * WIDE

    @property
    def margin(self) -> float:
        """Around everything."""
        return 10.0 if self.is_page else 1.0

    @property
    def inner(self) -> float:
        """Width within the margins."""
        return self.width - 2 * self.margin

    @property
    def gap(self) -> float:
        """Between panels."""
        return 6.0 if self.is_page else 3.5

    def across(self, panels: int) -> int:
        """How many of so many panels stand side by side: in a narrow column two."""
        return panels if self.width >= 0.5 * WIDE else min(2, panels)

    def side(self, panels: int) -> float:
        """Of each of so many panels."""
        across = self.across(panels)
        return (self.inner - (across - 1) * self.gap) / across

    @property
    def size(self) -> float:
        """Of the type."""
        return 8.0 if self.is_page else 6.5

    @property
    def small(self) -> float:
        """Of what is below the panels."""
        return 7.0 if self.is_page else 6.0

    @property
    def line(self) -> float:
        """Height of a line of type."""
        return leading(self.size)

    @property
    def small_line(self) -> float:
        """The same, below the panels."""
        return leading(self.small)
