"""Words in the place of a picture that would show nothing, and numbers to be read."""

from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import HAIR, QUIET, WASH
from pipeline.atlas.drawing.type import broken, leading


def in_words(page: Page, area: Area, text: str, size: float) -> None:
    """A paragraph in the middle of an area's height, within a dashed frame; `size` in points."""
    page.box(area, HAIR, 0.3, fill=WASH, dashed=True)
    margin = 0.8 * leading(size)
    width = area.width - 2 * margin
    height = len(broken(text, size, width)) * leading(size)
    y = area.y + max(margin / 2, (area.height - height) / 2)
    page.lines(area.x + margin, y, text, size, width, colour=QUIET)


def readable(value: float) -> str:
    """Three figures, without an exponent where that is readable."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e5 else f"{value:.3g}"
