"""The things of the demo: sixteen classes, each a function that draws one of its kind.

Every function gets a brush, a palette and a source of chance, and draws within about 1 of the
origin. Ten are put together from parts, here; six are textures, in `textures`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.data.demo.brush import Brush, Palette, Rng, arc, moved, oval, turned, varied
from pipeline.data.demo.textures import bricks, checks, dots, glyphs, rings, stripes
from pipeline.data.object_parts import WHOLE

FULL_TURN = 2 * math.pi


def butterflies(brush: Brush, palette: Palette, rng: Rng) -> None:
    """Four wings with spots, a body and two feelers."""
    wing, spot = palette.strong(rng)
    rim = palette.deep if rng.random() < 0.6 else palette.pale
    body = palette.deep if rim == palette.pale else palette.third
    long, wide = rng.uniform(0.42, 0.5), rng.uniform(0.27, 0.34)
    for side in (-1, 1):
        lower = oval(side * 0.38, 0.42, 0.40, 0.27, side * 0.9)
        upper = oval(side * 0.48, -0.3, long, wide, side * -0.6)
        for shape, middle in ((lower, (side * 0.38, 0.42)), (upper, (side * 0.48, -0.3))):
            brush.polygon(shape, rim)
            brush.polygon(shape * 0.8 + np.array(middle) * 0.2, wing)
        brush.disc(side * 0.56, -0.36, 0.13, spot)
        brush.disc(side * 0.42, 0.48, 0.11, spot)
        brush.disc(side * 0.56, -0.36, 0.06, rim)
        feeler = np.array([(0.0, -0.45), (side * 0.1, -0.72), (side * 0.26, -0.92)])
        brush.stroke(feeler, 0.045, body)
        brush.disc(side * 0.26, -0.92, 0.05, body)
    brush.polygon(oval(0, 0.08, 0.085, 0.6), body)
    brush.disc(0, -0.5, 0.11, body)


def eye(brush: Brush, x: float, y: float, size: float, palette: Palette) -> None:
    """White, iris and a glint."""
    brush.polygon(oval(x, y, size, size * 1.15), palette.pale)
    brush.disc(x, y + 0.1 * size, size * 0.6, palette.deep)
    brush.disc(x + 0.2 * size, y - 0.15 * size, size * 0.2, palette.pale)


def faces(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A head with eyes, brows, a nose and a mouth; often ears or hair too."""
    skin, hair = palette.strong(rng)
    extra = rng.integers(3)
    if extra == 0:  # round ears on top
        for side in (-1, 1):
            brush.disc(side * 0.66, -0.66, 0.3, skin)
            brush.disc(side * 0.66, -0.66, 0.16, hair)
    elif extra == 1:  # ears at the sides
        for side in (-1, 1):
            brush.disc(side * 0.86, 0.05, 0.2, skin)
    if extra > 0:
        brush.polygon(oval(0, -0.28, 0.86, 0.68), palette.third)
    head = oval(0, 0.06, 0.82, rng.uniform(0.8, 0.92))
    brush.polygon(head, skin)
    brush.note(WHOLE, head)
    apart, size = rng.uniform(0.29, 0.36), rng.uniform(0.15, 0.2)
    for side in (-1, 1):
        eye(brush, side * apart, -0.14, size, palette)
        place = "right eye" if (side > 0) != brush.mirror else "left eye"
        brush.note(place, oval(side * apart, -0.14, size, size * 1.15))
        brow = np.array([(-0.16, rng.uniform(-0.06, 0.06)), (0.0, -0.05), (0.16, 0.02)])
        brush.stroke(moved(brow * (side, 1), side * apart, -0.44), 0.06, palette.deep)
        brush.disc(side * 0.52, 0.28, 0.12, varied(hair, rng))
    nose = oval(0, 0.16, 0.09, 0.12)
    brush.polygon(nose, hair)
    brush.note("nose", 1.5 * (nose - (0, 0.16)) + (0, 0.16))
    brush.note("mouth", oval(0, 0.46, 0.36, 0.2))
    mouth(brush, palette, rng)


def mouth(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A smile, an open laugh or an O."""
    kind = rng.integers(3)
    smile = moved(arc(0.36, 0.15 * math.pi, 0.85 * math.pi, 14) * (1, 0.75), 0, 0.28)
    if kind == 0:
        brush.stroke(smile, 0.075, palette.deep)
    elif kind == 1:
        brush.polygon(smile, palette.deep)
        brush.polygon(np.concatenate([smile[:3], smile[-3:]]), palette.pale)  # the upper teeth
    else:
        brush.polygon(oval(0, 0.5, 0.15, 0.17), palette.deep)
        brush.polygon(oval(0, 0.56, 0.1, 0.08), palette.accent)


def fish(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A body with scales or bands, tail, fins, gill, eye."""
    body, fin = palette.strong(rng)
    high = rng.uniform(0.42, 0.56)
    tail = np.array([(-0.5, 0.0), (-1.0, -0.45), (-0.84, 0.0), (-1.0, 0.45)])
    brush.polygon(tail, fin)
    brush.polygon(np.array([(-0.3, -0.2), (-0.1, -high - 0.28), (0.35, -high + 0.02)]), fin)
    brush.polygon(np.array([(-0.2, 0.2), (-0.2, high + 0.2), (0.15, high - 0.06)]), fin)
    profile = oval(0.12, 0, 0.76, high, n=48)
    profile[:, 1] *= np.clip((profile[:, 0] + 1.35) / 1.2, 0, 1)
    brush.polygon(profile, body)
    pattern = palette.pale if rng.random() < 0.5 else palette.third
    if rng.random() < 0.5:
        for x in (-0.36, -0.12, 0.12):
            half = high * math.sqrt(max(0.0, 1 - ((x - 0.12) / 0.76) ** 2)) * 0.86
            half *= min(1.0, (x + 1.35) / 1.2)
            brush.stroke(np.array([(x, -half), (x + 0.05, 0), (x, half)]), 0.09, pattern)
    else:
        for row in range(-1, 2):
            for x in np.arange(-0.34, 0.3, 0.2):
                scale = moved(arc(0.1, -1.4, 1.4, 8), x + 0.1 * (row % 2), row * 0.19)
                brush.stroke(scale, 0.035, pattern)
    brush.stroke(moved(arc(high * 0.7, -0.8, 0.8, 12), 0.08, 0), 0.045, palette.deep)
    eye(brush, 0.6, -0.1, 0.13, palette)


def flowers(brush: Brush, palette: Palette, rng: Rng) -> None:
    """Petals around a seeded centre."""
    petal, centre = palette.strong(rng)
    if rng.random() < 0.3:
        petal = palette.pale
    n = int(rng.integers(5, 11))
    wide = min(0.3, 2.0 / n)
    for i in range(n):
        angle = i * FULL_TURN / n
        leaf = turned(oval(0.6, 0, 0.38, wide), angle)
        brush.polygon(leaf, varied(petal, rng, 0.08))
        vein = turned(np.array([(0.35, 0.0), (0.75, 0.0)]), angle)
        brush.stroke(vein, 0.04, varied(palette.third, rng))
    brush.disc(0, 0, 0.3, centre)
    for i in range(18):  # seeds, on a sunflower's spiral
        x, y = 0.062 * math.sqrt(i) * np.array([math.cos(2.4 * i), math.sin(2.4 * i)])
        brush.disc(x, y, 0.025, palette.deep)


def gears(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A toothed wheel with a hole in the middle."""
    metal, inner = palette.strong(rng)
    n = int(rng.integers(8, 14))
    root, wide = rng.uniform(0.7, 0.76), rng.uniform(0.42, 0.52) / n * FULL_TURN / 2
    for i in range(n):
        a = i * FULL_TURN / n
        angles = np.array([a - wide, a - 0.6 * wide, a + 0.6 * wide, a + wide])
        radii = np.array([root - 0.05, 0.98, 0.98, root - 0.05])
        tooth = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
        brush.polygon(tooth, metal)
    brush.disc(0, 0, root, metal)
    brush.disc(0, 0, root * 0.72, varied(inner, rng))
    brush.disc(0, 0, root * 0.5, metal)
    if rng.random() < 0.5:
        for x, y in arc(root * 0.61, n=7)[:-1]:
            brush.disc(x, y, 0.05, palette.deep)
    brush.disc(0, 0, rng.uniform(0.16, 0.26), None)


def ladders(brush: Brush, palette: Palette, rng: Rng) -> None:
    """Two rails and their rungs."""
    rail, rung = palette.pair(rng)
    half, thick = rng.uniform(0.26, 0.42), rng.uniform(0.09, 0.14)
    n = int(rng.integers(5, 8))
    taper = rng.uniform(0.75, 1.0)
    for y in np.linspace(-0.8, 0.8, n):
        w = half * (1 + (taper - 1) * (0.8 - y) / 1.6)
        brush.stroke(np.array([(-w, y), (w, y)]), thick * 0.8, rung)
    for side in (-1, 1):
        ends = np.array([(side * half * taper, -0.97), (side * half, 0.97)])
        brush.stroke(ends, thick, rail)


def leaves(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A pointed blade with midrib, side veins and a stalk."""
    blade, vein = palette.pair(rng)
    half, belly = rng.uniform(0.36, 0.52), rng.uniform(0.75, 1.2)
    teeth = rng.uniform(0.03, 0.06) if rng.random() < 0.4 else 0.0
    t = np.linspace(0, 1, 60)
    width = half * np.sin(math.pi * t**belly) ** 0.9 * (1 + teeth * 3 * ((t * 11) % 1))
    bend = rng.uniform(-0.22, 0.22)
    spine = np.stack([bend * np.sin(math.pi * t), 0.75 - 1.7 * t], axis=1)
    across = np.stack([width, np.zeros_like(t)], axis=1)
    brush.stroke(np.array([(0.0, 1.0), spine[2]]), 0.09, vein)
    brush.polygon(np.concatenate([spine + across, (spine - across)[::-1]]), blade)
    brush.stroke(spine[:56], 0.06, vein)
    for i in range(7, 50, 7):
        for side in (-1, 1):
            vein_end = moved(spine[i : i + 1], side * width[min(i + 6, 59)] * 0.8, -0.2)
            brush.stroke(np.concatenate([spine[i : i + 1], vein_end]), 0.035, vein)


def spirals(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A spiral, free or on a round plate."""
    line, plate = palette.pair(rng)
    turns = rng.uniform(2.3, 4.0)
    t = np.linspace(0.08, 1, 110)
    angle = turns * FULL_TURN * t
    if rng.random() < 0.5:
        brush.disc(0, 0, 0.98, plate)
    curve = 0.86 * t[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    brush.stroke(curve, 0.86 / turns * rng.uniform(0.42, 0.55), line)


def stars(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A pointed star with a smaller one on it."""
    colours = (*palette.strong(rng), palette.pale, palette.deep)
    n = int(rng.integers(5, 9))
    waist = rng.uniform(0.42, 0.55)
    corner = np.stack([arc(1.0, n=n + 1)[:-1], turned(arc(waist, n=n + 1)[:-1], math.pi / n)], 1)
    star = corner.reshape(-1, 2)
    brush.polygon(star, colours[0])
    brush.polygon(star * 0.72, colours[rng.integers(1, 4)])
    if rng.random() < 0.5:
        brush.polygon(star * 0.4, colours[0])


def wheels(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A rim, spokes and a hub; the background shows between the spokes."""
    tyre, spoke = palette.pair(rng)
    n = int(rng.integers(6, 13))
    thick = rng.uniform(0.13, 0.2)
    brush.disc(0, 0, 0.98, tyre)
    brush.disc(0, 0, 0.98 - thick * 0.75, spoke)
    brush.disc(0, 0, 0.98 - thick * 1.25, None)
    for x, y in arc(0.9 - thick, n=n + 1)[:-1]:
        brush.stroke(np.array([(0.0, 0.0), (x, y)]), 0.07, spoke)
    brush.disc(0, 0, 0.2, tyre)
    brush.disc(0, 0, 0.08, spoke)


@dataclass(frozen=True)
class Thing:
    """A class of things.

    Attributes:
        draw: draws one.
        turn: how far from upright it may be turned, in radians.
        mirror: whether it may be flipped left to right.
    """

    draw: Callable[[Brush, Palette, Rng], None]
    turn: float = math.pi
    mirror: bool = True

    @property
    def name(self) -> str:
        """The class's name."""
        return self.draw.__name__


THINGS: tuple[Thing, ...] = (
    Thing(bricks),
    Thing(butterflies, 0.6),
    Thing(checks),
    Thing(dots),
    Thing(faces, 0.5),
    Thing(fish, 0.5),
    Thing(flowers),
    Thing(gears),
    Thing(glyphs, 0.5, mirror=False),
    Thing(ladders),
    Thing(leaves),
    Thing(rings),
    Thing(spirals),
    Thing(stars),
    Thing(stripes),
    Thing(wheels),
)
