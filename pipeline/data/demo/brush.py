"""What the demo's things are drawn with: a palette, outlines, and a brush that knows the mask.

A thing is drawn in its own units: centred on (0, 0), x to the right, y down, reaching about 1 from
the centre. The brush turns and scales that to pixels, three times finer than the picture, so that
averaging blocks of 3×3 leaves smooth edges.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

Colour = tuple[int, int, int]
Points = npt.NDArray[np.float64]  # N×2: x, y
Rng = np.random.Generator
Box = tuple[float, float, float, float]  # top, left, bottom, right

FINE = 3  # drawn pixels per picture pixel, along each side
REACH = 1.2  # how far from its centre a thing may reach, in its own units


def oklch(lightness: float, chroma: float, hue: float) -> Colour:
    """The sRGB colour nearest to one in OKLCh (Ottosson 2020), where equal steps look equal.

    Args:
        lightness: 0 (black) to 1 (white).
        chroma: 0 (grey) to about 0.3.
        hue: angle in radians.
    """
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    red, green, blue = (round(255 * min(max(v, 0.0), 1.0) ** (1 / 2.2)) for v in linear)
    return red, green, blue


@dataclass(frozen=True)
class Palette:
    """Five colours that go together: two strong ones, a pale, a deep one and one between.

    It is chosen before the thing is, from the same distribution for every class, so that colour
    tells nothing about the class.
    """

    body: Colour
    accent: Colour
    pale: Colour
    deep: Colour
    third: Colour

    @classmethod
    def random(cls, rng: Rng) -> "Palette":
        """A palette around a random hue, its second hue near, across, or a third round."""
        hue = rng.uniform(0, 2 * math.pi)
        other = hue + rng.choice([-1, 1]) * rng.choice([0.6, 2.1, 2.6, 3.14])
        return cls(
            body=oklch(rng.uniform(0.55, 0.72), rng.uniform(0.10, 0.20), hue),
            accent=oklch(rng.uniform(0.62, 0.82), rng.uniform(0.10, 0.19), other),
            pale=oklch(rng.uniform(0.91, 0.97), rng.uniform(0.01, 0.05), other),
            deep=oklch(rng.uniform(0.22, 0.36), rng.uniform(0.02, 0.09), hue),
            third=oklch(rng.uniform(0.45, 0.60), rng.uniform(0.08, 0.16), other + 0.8),
        )

    def pair(self, rng: Rng) -> tuple[Colour, Colour]:
        """Two colours of this palette that contrast in lightness, in either order."""
        dark = (self.deep, self.body, self.third)
        light = (self.pale, self.accent)
        both = dark[rng.integers(3)], light[rng.integers(2)]
        if both == (self.body, self.accent):  # these two may be equally light
            both = (self.deep, self.accent)
        return both if rng.random() < 0.5 else both[::-1]

    def strong(self, rng: Rng) -> tuple[Colour, Colour]:
        """The two strong colours, in either order."""
        both = (self.body, self.accent)
        return both if rng.random() < 0.5 else both[::-1]


def varied(colour: Colour, rng: Rng, by: float = 0.12) -> Colour:
    """The colour, a little lighter or darker."""
    gain = 1 + rng.uniform(-by, by)
    red, green, blue = (min(255, round(gain * v)) for v in colour)
    return red, green, blue


def arc(radius: float, start: float = 0, stop: float = 2 * math.pi, n: int = 48) -> Points:
    """``n`` points of a circle around the origin, between two angles in radians."""
    t = np.linspace(start, stop, n)
    return radius * np.stack([np.cos(t), np.sin(t)], axis=1)


def oval(x: float, y: float, rx: float, ry: float, tilt: float = 0, n: int = 32) -> Points:
    """An ellipse around (x, y) with the half axes ``rx``, ``ry``, turned by ``tilt`` radians."""
    t = np.linspace(0, 2 * math.pi, n, endpoint=False)
    return moved(turned(np.stack([rx * np.cos(t), ry * np.sin(t)], axis=1), tilt), x, y)


def rectangle(left: float, top: float, right: float, bottom: float) -> Points:
    """The four corners of an upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def box(width: float, height: float, corner: float) -> Points:
    """A rectangle around the origin, its corners rounded with the radius ``corner``."""
    x, y = width / 2 - corner, height / 2 - corner
    centres = [(x, y), (-x, y), (-x, -y), (x, -y)]
    quarter = math.pi / 2
    turns = [
        moved(arc(corner, i * quarter, (i + 1) * quarter, 7), *centre)
        for i, centre in enumerate(centres)
    ]
    return np.concatenate(turns)


def turned(points: Points, angle: float) -> Points:
    """The points turned around the origin by ``angle`` radians (clockwise, as y points down)."""
    c, s = math.cos(angle), math.sin(angle)
    rotated: Points = points @ np.array([[c, s], [-s, c]])
    return rotated


def moved(points: Points, x: float, y: float) -> Points:
    """The points moved by (x, y)."""
    shifted: Points = points + np.array([x, y])
    return shifted


def outline(rng: Rng) -> Points:
    """The edge of a patch of texture: round, square, six-sided or a pebble, at random."""
    kind = rng.integers(4)
    if kind == 0:
        return arc(0.95)
    if kind == 1:
        return turned(box(rng.uniform(1.35, 1.7), rng.uniform(1.35, 1.7), 0.2), rng.uniform(0, 1.6))
    if kind == 2:
        return turned(arc(1.0, n=7), rng.uniform(0, 1))
    waves = rng.uniform(0, 2 * math.pi, 2)
    t = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    radius = 0.86 + 0.09 * np.sin(2 * t + waves[0]) + 0.05 * np.sin(3 * t + waves[1])
    return np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1)


class Brush:
    """Draws one thing on its own small canvas: its colours and, pixel for pixel, its mask.

    Args:
        radius: picture pixels per unit.
        angle: how far the thing is turned, in radians, clockwise.
        mirror: whether it is flipped left to right before it is turned.

    Attributes:
        parts: where those of the thing are that `note` was told, in pixels of the canvas.
    """

    def __init__(self, radius: float, angle: float, mirror: bool = False) -> None:
        self.side = 2 * math.ceil(radius * REACH)  # of the canvas, in picture pixels
        self.mirror = mirror
        self.parts: dict[str, Box] = {}
        self._scale = radius * FINE
        self._matrix = self._scale * turned(np.diag([-1.0 if mirror else 1.0, 1.0]), angle)
        self._middle = self.side * FINE / 2
        self._paint = Image.new("RGB", (self.side * FINE,) * 2)
        self._mask = Image.new("L", self._paint.size)
        self._pens = ImageDraw.Draw(self._paint), ImageDraw.Draw(self._mask)

    def polygon(self, points: Points, colour: Colour) -> None:
        """Fill a polygon."""
        self._draw("polygon", self._flat(points), colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour | None) -> None:
        """Fill a circle; without a colour it is a hole, through which the background shows."""
        cx, cy = self._flat(np.array([x, y]))
        r = radius * self._scale
        self._draw("ellipse", [cx - r, cy - r, cx + r, cy + r], colour)

    def stroke(self, points: Points, width: float, colour: Colour) -> None:
        """Draw a line through the points, ``width`` thick, with round joints and ends."""
        thick = max(1, round(width * self._scale))
        self._draw("line", self._flat(points), colour, width=thick, joint="curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, width / 2, colour)

    def note(self, part: str, points: Points) -> None:
        """Remember where a part is: the box around these points."""
        x, y = np.reshape(self._flat(points), (-1, 2)).T / FINE
        self.parts[part] = float(y.min()), float(x.min()), float(y.max()), float(x.max())

    def clip(self, outline: Points) -> None:
        """Keep only what lies inside a polygon."""
        inside = Image.new("L", self._mask.size)
        ImageDraw.Draw(inside).polygon(self._flat(outline), fill=255)
        self._mask = ImageChops.multiply(self._mask, inside)
        black = Image.new("RGB", self._paint.size)
        self._paint = Image.composite(self._paint, black, inside)
        self._pens = ImageDraw.Draw(self._paint), ImageDraw.Draw(self._mask)

    def finished(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """What was drawn, at the picture's resolution.

        Returns:
            Colours S×S×3, 0–255, already multiplied by the cover, and the cover S×S, 0–1.
        """
        paint = np.asarray(self._paint.reduce(FINE), np.float32)
        cover = np.asarray(self._mask.reduce(FINE), np.float32) / np.float32(255)
        return paint, cover

    def _flat(self, points: Points) -> list[float]:
        flat: list[float] = (points @ self._matrix + self._middle).ravel().tolist()
        return flat

    def _draw(self, shape: str, where: list[float], colour: Colour | None, **how: Any) -> None:
        paint, mask = self._pens
        getattr(paint, shape)(where, fill=colour or (0, 0, 0), **how)
        getattr(mask, shape)(where, fill=0 if colour is None else 255, **how)
