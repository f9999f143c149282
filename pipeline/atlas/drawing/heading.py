"""What figures begin with: a title and what is to be known, and whose colour is whose."""

from collections.abc import Mapping, Sequence

from pipeline.atlas.drawing.measures import PRINT, Measures
from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import QUIET
from pipeline.atlas.drawing.type import broken, text_width


def headed_page(
    title: str, paragraphs: Sequence[str], m: Measures, below: float
) -> tuple[Page, float]:
    """A page with a title and paragraphs, and room below them.

    Args:
        title: of the figure.
        paragraphs: about it, below the title.
        m: how it is set.
        below: millimetres that all else takes.

    Returns:
        The page, and where all else starts.
    """
    lines = [line for text in paragraphs for line in broken(text, m.size, m.inner)]
    head = (2.2 + len(lines)) * m.line
    page = Page(m.width, 2 * m.margin + head + below, PRINT)
    y = page.text(m.margin, m.margin, title, 1.75 * m.size, bold=True, width=m.inner)
    for line in lines:
        y = page.text(m.margin, y, line, m.size, colour=QUIET)
    return page, m.margin + head


def legend(page: Page, y: float, colours: Mapping[str, str], m: Measures) -> float:
    """Names side by side, each behind its colour; returns where the next line starts."""
    x = m.margin
    for name, colour in colours.items():
        page.box(Area(x, y + 0.35 * m.line, 4, 0.3 * m.line), colour, 0, fill=colour)
        page.text(x + 5, y, name, m.size)
        x += 8 + text_width(name, m.size)
    return y + LEGEND * m.line


LEGEND = 1.6
"""Lines that a legend takes."""
