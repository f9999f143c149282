"""The maps of an occlusion as pictures: spread over the net's input, in colour."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import matplotlib
import numpy as np
from numpy.typing import NDArray

from pipeline.atlas.drawing.page import Pixels
from pipeline.data.findings import Occluded

ACTIVATION, PROBABILITY = "viridis", "cividis"
"""In which of matplotlib's colours they are shown, everywhere."""

_Value = TypeVar("_Value", bound=np.generic)


def over_picture(occluded: Occluded, values: NDArray[_Value]) -> NDArray[_Value]:
    """A map (R, Q) spread over the picture's pixels (H, W): of each, the nearest place."""
    found, half = occluded.found, occluded.settings.occluder / 2
    rows, columns = (
        np.abs(np.arange(side)[:, None] + 0.5 - (starts + half)).argmin(1)
        for side, starts in zip(
            occluded.projection.shape[1:], (found.tops, found.lefts), strict=True
        )
    )
    spread: NDArray[_Value] = values[rows][:, columns]
    return spread


def example_place(occluded: Occluded) -> tuple[int, int]:
    """Row and column of the maps where the correct class is least probable."""
    probability = occluded.found.probability
    row, column = np.unravel_index(probability.argmin(), probability.shape)
    return int(row), int(column)


def example_box(occluded: Occluded) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the occluder at that place."""
    row, column = example_place(occluded)
    top, left = int(occluded.found.tops[row]), int(occluded.found.lefts[column])
    return top, left, top + occluded.settings.occluder, left + occluded.settings.occluder


def example(occluded: Occluded) -> Pixels:
    """The picture with the occluder at that place, (H, W, 3)."""
    pixels = occluded.picture.pixels.copy()
    top, left, bottom, right = example_box(occluded)
    pixels[top:bottom, left:right] = occluded.colour
    return pixels


def never_flips(name: str) -> str:
    """What to say where hiding no place changes the most probable class."""
    return f"{name} is the most probable class wherever the occluder stands."


def hardly_changes(low: str, high: str, unit: str) -> str:
    """What to say of values that are the same but for rounding."""
    between = low if low == high else f"between {low} and {high}"
    return f"Hardly changes: {between} ({unit}), wherever the occluder stands."


def ramped(
    values: NDArray[np.floating], limits: tuple[float, float], ramp: str
) -> NDArray[np.floating]:
    """A map (R, Q) in the colours of one of matplotlib's ramps, (R, Q, 3) from 0 to 255."""
    low, high = limits
    rgb: NDArray[np.floating] = matplotlib.colormaps[ramp]((values - low) / (high - low or 1.0))
    return 255 * rgb[..., :3]


def class_colours(classes: Sequence[int], palette: Sequence[str], other: str) -> dict[int, str]:
    """A colour for each class; where there are more than colours, the last ones are `other`."""
    shown = classes if len(classes) <= len(palette) else classes[: len(palette) - 1]
    return {**dict.fromkeys(classes, other), **dict(zip(shown, palette, strict=False))}


def painted(classes: NDArray[np.integer], colours: Mapping[int, str]) -> Pixels:
    """A map of classes (R, Q) in their colours, (R, Q, 3)."""
    pixels = np.empty((*classes.shape, 3), np.uint8)
    for label, colour in colours.items():
        pixels[classes == label] = np.rint(255 * np.array(matplotlib.colors.to_rgb(colour)))
    return pixels
