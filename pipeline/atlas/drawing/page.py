"""A page to draw on: millimetres from the top left corner, type in points, vector text.

Matplotlib without its global state: one page is one figure with one set of axes, as large as it.
"""

import io
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.patheffects import Stroke
from numpy.typing import NDArray
from PIL import Image

from pipeline.atlas.drawing.style import HAIR, INK, PAPER, POINT, text_on
from pipeline.atlas.drawing.type import broken, drawable, families, fit, leading, text_width

Pixels = NDArray[np.uint8]
"""A picture, (H, W, 3)."""

FileFormat = Literal["png", "pdf", "svg"]

_METADATA: dict[FileFormat, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": "deconv-atlas"},
    "svg": {"Date": None, "Creator": "deconv-atlas"},
}
_PNG: Any = {"pil_kwargs": {"compress_level": 4}}  # two thirds of 6's time, 6 % more bytes


def formats(*, svg: bool) -> list[FileFormat]:
    """Those that a page is stored in."""
    return ["png", "pdf", "svg"] if svg else ["png", "pdf"]


_LAYER = 1  # of everything, so that what is drawn later lies above


@dataclass(frozen=True)
class Area:
    """A rectangle of a page: left, top, width, height in millimetres."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height

    def inset(self, by: float) -> "Area":
        """The area without a border."""
        return Area(self.x + by, self.y + by, self.width - 2 * by, self.height - 2 * by)

    def contains(self, other: "Area") -> bool:
        """Whether the other lies inside."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.right <= self.right
            and other.bottom <= self.bottom
        )

    def overlaps(self, other: "Area") -> bool:
        """Whether they have more than an edge in common."""
        return (
            self.x < other.right
            and other.x < self.right
            and self.y < other.bottom
            and other.y < self.bottom
        )

    def of_pixels(self, box: tuple[int, int, int, int], width: int) -> "Area":
        """Where pixels lie in a picture that fills the area.

        Args:
            box: their top, left, bottom, right.
            width: of the picture, in pixels.
        """
        scale = self.width / width
        top, left, bottom, right = (side * scale for side in box)
        return Area(self.x + left, self.y + top, right - left, bottom - top)


class Page:
    """One page.

    Args:
        width: in millimetres.
        height: likewise.
        density: pixels of embedded pictures per millimetre, and of the page as PNG.

    Attributes:
        texts: all that is written on it, also what no font here can show.
    """

    def __init__(self, width: float, height: float, density: float = 8.0) -> None:
        self.width, self.height, self.density = width, height, density
        self.figure = Figure((width / 25.4, height / 25.4), density * 25.4, facecolor=PAPER)
        # else a vector file would have all pictures merged into one of the figure's resolution
        self.figure.suppressComposite = True
        self.axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set_axis_off()
        self.texts: list[str] = []
        self._limits()

    def _limits(self) -> None:
        self.axes.set_xlim(0, self.width)
        self.axes.set_ylim(self.height, 0)
        self.axes.set_aspect("auto")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        colour: str = INK,
        bold: bool = False,
        align: Literal["left", "center", "right"] = "left",
        width: float | None = None,
        keep_end: bool = False,
        rotation: float = 0,
    ) -> float:
        """A line of text, its first line's top at `y`.

        Args:
            x: of its left end, middle or right end, as `align` says.
            y: of the top of the line.
            text: one line.
            size: in points.
            colour: of the type.
            bold: or regular.
            align: which end is at `x`.
            width: what it may take; longer text is set smaller, then loses its middle.
            keep_end: it loses its beginning instead.
            rotation: degrees, about the middle of the line's left end.

        Returns:
            Where the next line starts.
        """
        shown, fitted = fit(text, size, bold, width, keep_end) if width else (text, size)
        self.texts.append(shown)
        self.axes.text(
            x,
            y + leading(size) / 2,
            drawable(shown),
            parse_math=False,
            size=fitted,
            color=colour,
            family=families(shown),
            weight="bold" if bold else "normal",
            ha=align,
            va="center_baseline" if rotation == 0 else "center",
            rotation=rotation,
            zorder=_LAYER,
        )
        return y + leading(size)

    def lines(
        self, x: float, y: float, text: str, size: float, width: float, *, colour: str = INK
    ) -> float:
        """A paragraph, broken into lines of `width`; returns where the next one starts."""
        for line in broken(text, size, width):
            y = self.text(x, y, line, size, colour=colour)
        return y

    def picture(
        self,
        area: Area,
        pixels: Pixels,
        frame: str | None = None,
        line: float = 0.3,
        *,
        sharp: bool = False,
    ) -> None:
        """A picture that fills an area, framed in a colour; `line` in millimetres.

        If it is `sharp`, each pixel stays a square of its own colour: for maps of data.
        """
        self.axes.imshow(
            self._resampled(pixels, area, sharp),
            extent=(area.x, area.right, area.bottom, area.y),
            interpolation="none",
            zorder=_LAYER,
            aspect="auto",
        )
        self._limits()  # showing a picture moves them
        if frame is not None:
            self.box(area, frame, line)

    def _resampled(self, pixels: Pixels, area: Area, sharp: bool) -> Pixels:
        """At the page's density; viewers would enlarge it each in its own way."""
        lengths = (area.width, area.height)
        size = [max(1, round(length * self.density)) for length in lengths]
        how = Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS
        return np.asarray(Image.fromarray(pixels).resize(size, how))

    def box(
        self,
        area: Area,
        colour: str = HAIR,
        line: float = 0.3,
        *,
        fill: str | None = None,
        casing: bool = False,
        dashed: bool = False,
    ) -> None:
        """A rectangle; `line` in millimetres; a casing keeps it visible on any picture."""
        patch = Rectangle(
            (area.x, area.y),
            area.width,
            area.height,
            facecolor=fill or "none",
            edgecolor=colour if line else "none",
            linewidth=line / POINT,
            linestyle=(0, (3, 2)) if dashed else "-",
            joinstyle="miter",
            zorder=_LAYER,
        )
        if casing:
            around = Stroke(linewidth=line / POINT * 2.2, foreground=PAPER, alpha=0.85)
            patch.set_path_effects([around, Stroke()])
        self.axes.add_patch(patch)

    def rule(
        self, start: tuple[float, float], end: tuple[float, float], colour: str = HAIR,
        line: float = 0.3, *, dashed: bool = False,
    ) -> None:  # fmt: skip
        """A straight line; `line` in millimetres."""
        self.axes.plot(
            [start[0], end[0]],
            [start[1], end[1]],
            color=colour,
            linewidth=line / POINT,
            linestyle=(0, (2.5, 2)) if dashed else "-",
            solid_capstyle="butt",
            zorder=_LAYER,
        )

    def arrow(
        self, start: tuple[float, float], end: tuple[float, float], colour: str = INK,
        line: float = 0.3, *, dashed: bool = False, head: float = 2.0,
    ) -> None:  # fmt: skip
        """An arrow; `line` and `head` in millimetres."""
        patch = FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=head / POINT,
            shrinkA=0,
            shrinkB=0,
            linewidth=line / POINT,
            linestyle=(0, (2.5, 2)) if dashed else "-",
            color=colour,
            zorder=_LAYER,
        )
        self.axes.add_patch(patch)

    def chip(self, x: float, y: float, text: str, size: float, colour: str) -> Area:
        """A small label on a coloured ground, its top left corner at (x, y)."""
        area = Area(x, y, *chip_size(text, size))
        self.box(area, colour, 0, fill=colour)
        self.text(
            x + area.width / 2, y + 0.1 * size * POINT, text, size,
            colour=text_on(colour), bold=True, align="center",
        )  # fmt: skip
        return area

    def figures(self, *, svg: bool = False) -> dict[str, bytes]:
        """The page as a picture, as a printable file and, if asked for, one to go on drawing in."""
        return {form: self.save(form) for form in formats(svg=svg)}

    def save(self, form: FileFormat) -> bytes:
        """The page as a file; the same page gives the same bytes."""
        sink = io.BytesIO()
        look = matplotlib.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "deconv-atlas"})
        with look:
            FigureCanvasAgg(self.figure)
            more = _PNG if form == "png" else {}
            self.figure.savefig(sink, format=form, metadata=_METADATA[form], **more)
        return sink.getvalue()


def chip_size(text: str, size: float) -> tuple[float, float]:
    """(width, height) of a chip."""
    height = 1.5 * size * POINT
    return max(height, text_width(text, size, bold=True) + 0.7 * size * POINT), height
