"""The demo's textures: six classes, each a function that draws a patch in a random outline."""

import math

import numpy as np

from pipeline.data.demo.brush import Brush, Palette, Rng, moved, outline, rectangle, varied

# Capital letters as strokes on a 2×2 square, so that no font is needed and none can differ.
LETTERS: tuple[tuple[str, ...], ...] = (
    ("02 10 22", "01 21"),  # A, its bar lowered by the eye alone
    ("20 00 02 22", "01 21"),  # E
    ("20 00 02", "01 21"),  # F
    ("00 02", "20 22", "01 21"),  # H
    ("00 02", "20 01 22"),  # K
    ("00 02 22",),  # L
    ("02 00 11 20 22",),  # M
    ("02 00 22 20",),  # N
    ("00 20", "10 12"),  # T
    ("00 02 22 20",),  # U
    ("00 12 20",),  # V
    ("00 22", "20 02"),  # X
    ("00 11 20", "11 12"),  # Y
    ("00 20 02 22",),  # Z
    ("10 21 12 01 10",),  # O, as a lozenge
)


def bricks(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A wall in running bond."""
    brick, mortar = palette.pair(rng)
    high = rng.uniform(0.28, 0.42)
    wide, joint = high * rng.uniform(1.9, 2.5), 0.17 * high
    brush.polygon(rectangle(-1.1, -1.1, 1.1, 1.1), mortar)
    shift = rng.uniform(0, high), rng.uniform(0, wide)
    for row, y in enumerate(np.arange(-1.1 - shift[0], 1.1, high)):
        for x in np.arange(-1.1 - shift[1] - wide * (row % 2) / 2, 1.1, wide):
            face = rectangle(x, y, x + wide - joint, y + high - joint)
            brush.polygon(face, varied(brick, rng))
    brush.clip(outline(rng))


def checks(brush: Brush, palette: Palette, rng: Rng) -> None:
    """A chequered patch."""
    figure, ground = palette.pair(rng)
    step = rng.uniform(0.24, 0.4)
    brush.polygon(rectangle(-1.1, -1.1, 1.1, 1.1), ground)
    n = math.ceil(1.1 / step)
    for row in range(-n, n):
        for column in range(-n + (row % 2), n, 2):
            x, y = column * step, row * step
            brush.polygon(rectangle(x, y, x + step, y + step), figure)
    brush.clip(outline(rng))


def dots(brush: Brush, palette: Palette, rng: Rng) -> None:
    """Polka dots, in staggered rows."""
    figure, ground = palette.pair(rng)
    step = rng.uniform(0.34, 0.52)
    radius = step * rng.uniform(0.24, 0.34)
    brush.polygon(rectangle(-1.1, -1.1, 1.1, 1.1), ground)
    for row, y in enumerate(np.arange(-1.1, 1.2, step * 0.87)):
        for x in np.arange(-1.1 + step * (row % 2) / 2, 1.2, step):
            brush.disc(x, y, radius, figure)
    brush.clip(outline(rng))


def glyphs(brush: Brush, palette: Palette, rng: Rng) -> None:
    """Rows of capital letters on a plate."""
    ink, plate = palette.pair(rng)
    step = rng.uniform(0.34, 0.46)
    size = 0.29 * step
    brush.polygon(rectangle(-1.1, -1.1, 1.1, 1.1), plate)
    for y in np.arange(-1.0 + rng.uniform(-0.1, 0.1), 1.0, step * 1.25):
        for x in np.arange(-1.05 + rng.uniform(-0.2, 0), 1.0, step * 0.86):
            for line in LETTERS[rng.integers(len(LETTERS))]:
                nodes = [(x + int(c[0]) * size, y + int(c[1]) * size * 1.35) for c in line.split()]
                brush.stroke(np.array(nodes), 0.34 * size, ink)
    brush.clip(outline(rng))


def rings(brush: Brush, palette: Palette, rng: Rng) -> None:
    """Concentric rings, a target."""
    colours = palette.pair(rng)
    n = int(rng.integers(4, 9))
    for i in range(n):
        brush.disc(0, 0, 0.97 * (1 - i / n), colours[i % 2])


def stripes(brush: Brush, palette: Palette, rng: Rng) -> None:
    """Straight or gently waving bands."""
    figure, ground = palette.pair(rng)
    step = rng.uniform(0.26, 0.46)
    wave, share = rng.uniform(0, 0.09) * rng.integers(2), rng.uniform(0.42, 0.58)
    x = np.linspace(-1.1, 1.1, 40)
    edge = np.stack([x, wave * np.sin(x * 5)], axis=1)
    brush.polygon(rectangle(-1.1, -1.1, 1.1, 1.1), ground)
    for y in np.arange(-1.2, 1.2, step):
        band = np.concatenate([moved(edge, 0, y), moved(edge[::-1], 0, y + step * share)])
        brush.polygon(band, figure)
    brush.clip(outline(rng))
