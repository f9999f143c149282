"""How much room type takes, and how to make it fit: millimetres and points."""

from bisect import bisect_right
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from pipeline.atlas.drawing.style import POINT

FAMILY = "DejaVu Sans"
"""Comes with matplotlib, so figures look the same everywhere."""

LINE = 1.3
"""From line to line, in sizes of the type."""

_SMALLEST = 0.7  # of the size that was asked for
_ELLIPSIS = "…"


def leading(size: float) -> float:
    """Millimetres from line to line."""
    return size * POINT * LINE


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Millimetres that a line takes."""
    font = FontProperties(family=FAMILY, weight="bold" if bold else "normal", size=100)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) * POINT * size / 100


def fit(
    text: str, size: float, bold: bool, width: float, keep_end: bool = False
) -> tuple[str, float]:
    """The text and a size with which it takes at most `width`, shortened if need be."""
    needed = text_width(text, size, bold)
    if needed <= width:
        return text, size
    if needed * _SMALLEST <= width:
        return text, size * width / needed
    smallest = size * _SMALLEST
    fitting = bisect_right(
        range(1, len(text)),
        width,
        key=lambda length: text_width(_shortened(text, length, keep_end), smallest, bold),
    )
    return _shortened(text, max(1, fitting), keep_end), smallest


def _shortened(text: str, length: int, keep_end: bool) -> str:
    head = 0 if keep_end else (length + 1) // 2
    return text[:head] + _ELLIPSIS + text[len(text) - (length - head) :]


def broken(text: str, size: float, width: float) -> list[str]:
    """A paragraph as lines of at most `width`."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
