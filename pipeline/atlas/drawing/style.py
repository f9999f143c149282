"""How the project's figures look: few greys, and colours that colour-blind eyes tell apart.

Lengths are millimetres, sizes of type are points.
"""

import matplotlib

INK = "#1c1c1c"
"""Text and outlines."""

QUIET = "#5f6368"
"""What is said beside the point."""

HAIR = "#c9ccd1"
"""Rules and frames."""

WASH = "#f3f4f6"
"""Behind what belongs together."""

PAPER = "#ffffff"

MID_GREY = "#808080"
"""A projection's zero."""

ACCENT = "#0072b2"
SECOND = "#d55e00"

POINT = 25.4 / 72
"""Millimetres of a point of type."""

RANK_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Things without an order (Okabe and Ito's palette, safe for all colour-blind eyes)."""

_FIRST, _LAST = 0.05, 0.9  # the ends of the ramp are too dark, too light


def depth_colours(count: int) -> list[str]:
    """Colours of layers by depth: a ramp from dark to light, so that the order shows in grey too.

    Returns:
        `count` of them as ``#rrggbb``.
    """
    ramp = matplotlib.colormaps["plasma"]
    step = (_LAST - _FIRST) / max(1, count - 1)
    return [matplotlib.colors.to_hex(ramp(_FIRST + n * step)) for n in range(count)]


def text_on(colour: str) -> str:
    """Ink or paper, whichever reads better on a colour."""
    red, green, blue = matplotlib.colors.to_rgb(colour)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else PAPER
