"""What surrounds the demo's things: backgrounds with clutter, and the light on thing and ground."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from pipeline.data.demo.brush import Brush, Colour, Rng, moved, oklch, oval, turned

Pixels = npt.NDArray[np.float32]


def background(rng: Rng, width: int, height: int) -> Image.Image:
    """A background, ``width``×``height`` pixels: a colour gradient, clouds or blots, cluttered.

    It is drawn at half the resolution: a little out of focus, and four times as fast.
    """
    hue, light = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 0.9)
    fill = (_gradient, _clouds, _blots)[rng.integers(3)]
    scene = fill(rng, (width + 1) // 2, (height + 1) // 2, hue, light)
    _clutter(rng, scene, hue, light)
    soft = scene.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 0.8)))
    return soft.resize((width, height), Image.Resampling.BILINEAR)


def composed(
    scene: Image.Image, brush: Brush, corner: tuple[int, int], rng: Rng
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Put what a brush drew on a background, lit from one side, casting a soft shadow.

    Args:
        scene: the background.
        brush: holds the thing.
        corner: where the thing's canvas starts in the picture (x, y), possibly outside it.
        rng: the light's direction and the grain.

    Returns:
        The picture, H×W×3, and the thing's mask, H×W.
    """
    paint, cover = brush.finished()
    angle = rng.uniform(0, 2 * math.pi)
    light = math.cos(angle), math.sin(angle)  # the direction to it, x and y
    shade = _relief(cover, light)
    full = np.zeros((scene.height, scene.width), np.float32)
    planes = np.asarray(scene).transpose(2, 0, 1).astype(np.float32, order="C")  # 3×H×W
    there, here = _overlap(corner, brush.side, scene.size)
    full[there] = cover[here]
    planes *= 1 - _shadow(full, light)
    planes[:, *there] *= 1 - cover[here]
    planes[:, *there] += (paint.transpose(2, 0, 1) * shade)[:, *here]
    planes += rng.standard_normal(full.shape, np.float32) * np.float32(rng.uniform(1, 4))
    np.clip(planes, 0, 255, out=planes)
    pixels = planes.astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(pixels), full >= 0.5


def _overlap(
    corner: tuple[int, int], side: int, size: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where canvas and picture meet: as rows and columns of the picture, then of the canvas."""
    there, here = [], []
    for start, whole in zip(reversed(corner), reversed(size), strict=True):
        low, high = max(start, 0), min(start + side, whole)
        there.append(slice(low, high))
        here.append(slice(low - start, high - start))
    return (there[0], there[1]), (here[0], here[1])


def _blurred(values: Pixels, radius: float) -> Pixels:
    """Blurred at half the resolution, where a shadow has no detail to lose."""
    image = Image.fromarray((values * 255).astype(np.uint8))
    small = image.reduce(2).filter(ImageFilter.GaussianBlur(radius / 2))
    grown = np.asarray(small.resize(image.size, Image.Resampling.BILINEAR), np.float32)
    scaled: Pixels = grown / np.float32(255)
    return scaled


def _relief(cover: Pixels, light: tuple[float, float]) -> Pixels:
    """How bright each place of a thing is, around 1: bright edges to the light, dark ones away."""
    side = len(cover)
    slope_y, slope_x = np.gradient(_blurred(cover, side / 30))
    edge = slope_x * (light[0] * side / 80) + slope_y * (light[1] * side / 80)
    place = np.linspace(-0.1, 0.1, side, dtype=np.float32)
    across = place[None, :] * light[0] + place[:, None] * light[1]
    shade: Pixels = 1 - np.clip(edge, -0.22, 0.22) - across
    return shade


def _shadow(cover: Pixels, light: tuple[float, float]) -> Pixels:
    """How much the shadow takes away, 0–0.38, thrown away from the light."""
    depth = min(cover.shape) / 34
    blurred = _blurred(cover, depth)
    dx, dy = (round(v * depth) for v in light)
    return np.roll(blurred, (dy, dx), axis=(0, 1)) * np.float32(0.38)


def _tone(rng: Rng, hue: float, light: float, spread: float = 0.12) -> Colour:
    """A muted colour near a hue and a lightness."""
    level = min(max(light + rng.uniform(-spread, spread), 0.15), 0.97)
    return oklch(level, rng.uniform(0.02, 0.10), hue + rng.uniform(-0.9, 0.9))


def _grown(grid: npt.NDArray[np.uint8], width: int, height: int) -> Image.Image:
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


def _gradient(rng: Rng, width: int, height: int, hue: float, light: float) -> Image.Image:
    n = int(rng.integers(2, 5))
    tones = [[_tone(rng, hue, light, 0.2) for _ in range(n)] for _ in range(n)]
    return _grown(np.array(tones, np.uint8), width, height)


def _clouds(rng: Rng, width: int, height: int, hue: float, light: float) -> Image.Image:
    """Two colours mixed by noise of three scales."""
    mix = np.zeros((height, width), np.float32)
    for cells in (3, 7, 16):
        grid = rng.integers(0, 256, (cells, cells), np.uint8)
        mix += np.asarray(_grown(grid, width, height), np.float32) / (255 * cells**0.6)
    mix = (mix - mix.min()) / (mix.max() - mix.min())
    first, second = _tone(rng, hue, light - 0.1), _tone(rng, hue, light + 0.1)
    weights = Image.fromarray((mix * 255).astype(np.uint8))
    size = (width, height)
    return Image.composite(Image.new("RGB", size, first), Image.new("RGB", size, second), weights)


def _blots(rng: Rng, width: int, height: int, hue: float, light: float) -> Image.Image:
    """Large, overlapping soft ovals."""
    scene = Image.new("RGB", (width, height), _tone(rng, hue, light))
    pen = ImageDraw.Draw(scene)
    for _ in range(rng.integers(8, 22)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        rx, ry = rng.uniform(0.08, 0.4, 2) * min(width, height)
        shape = oval(x, y, rx, ry, rng.uniform(0, math.pi))
        pen.polygon(shape.ravel().tolist(), fill=_tone(rng, hue, light))
    return scene.filter(ImageFilter.BoxBlur(rng.uniform(1, 5)))


def _clutter(rng: Rng, scene: Image.Image, hue: float, light: float) -> None:
    """A few small faint bars, chips and rings, so that an edge alone does not mean a thing."""
    pen = ImageDraw.Draw(scene)
    width, height = scene.size
    for _ in range(rng.integers(0, 9)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        size = rng.uniform(0.03, 0.09) * min(width, height)
        tone = _tone(rng, hue, light, 0.22)
        kind = rng.integers(3)
        if kind == 0:
            pen.ellipse((x - size, y - size, x + size, y + size), outline=tone, width=2)
        elif kind == 1:
            chip = turned(np.array([(1, 0), (-0.5, 0.9), (-0.5, -0.9)]), rng.uniform(0, 6.3))
            pen.polygon(moved(chip * size, x, y).ravel().tolist(), fill=tone)
        else:
            bar = turned(np.array([(-1.0, 0.0), (1.0, 0.0)]), rng.uniform(0, 3.2)) * 2 * size
            flat = moved(bar, x, y).ravel().tolist()
            pen.line(flat, fill=tone, width=max(1, round(size / 3)))
