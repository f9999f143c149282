"""The panels of a poster that are its own: a layer's feature maps, and an occlusion experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import HAIR, INK, POINT, QUIET, RANK_COLOURS
from pipeline.atlas.drawing.type import fit
from pipeline.atlas.explain.items import Pixels, winner_pictures
from pipeline.config import LayerSpec

_RANKS = 3
_RAMP = "viridis"
_OTHER = "#9aa0a6"

Map = tuple[int, str, pd.DataFrame]
"""A feature map, a note on it, and its rows of a run's projections."""


@dataclass(frozen=True)
class RowPlan:
    """How the layers' rows are arranged, the same for all of them, in millimetres.

    Attributes:
        height: of a row.
        cell: side of a picture.
        tile: width of a feature map.
        maps: how many stand in a row.
        gap: between them.
        label: width of the layer's own column.
        size: of the type, in points.
    """

    height: float
    cell: float
    tile: float
    maps: int
    gap: float
    label: float
    size: float

    def name_size(self, layers: Sequence[LayerSpec]) -> float:
        """A size with which all the layers' names have room."""
        size = 1.4 * self.size
        return min(fit(layer.name, size, True, self.label - 8)[1] for layer in layers)

    @classmethod
    def of(cls, width: float, height: float, size: float) -> "RowPlan":
        """The plan for rows of this width and height: as many maps as fit."""
        label, line = 98.0, size * POINT * 1.3
        cell = (height - 1.5 * line - 2 - 13) / 2
        tile = _RANKS * cell + 2 * (_RANKS - 1)
        least = 9.0
        maps = max(2, min(9, int((width - label + least) // (tile + least))))
        gap = (width - label - maps * tile) / (maps - 1)
        return cls(height, cell, tile, maps, gap, label, size)


def draw_layer(
    page: Page, area: Area, layer: LayerSpec, maps: Sequence[Map], plan: RowPlan, name_size: float
) -> None:
    """A layer: what it is, and its feature maps, projections above the patches they come from."""
    line = plan.size * POINT * 1.3
    top = area.y + 1.5 * line
    page.text(area.x, top, layer.name, name_size, bold=True, width=plan.label - 8, keep_end=True)
    rows, columns = layer.receptive_field.size
    y = top + 1.3 * name_size * POINT + 0.6 * line
    for fact in (
        f"{layer.maps} maps",
        f"of {layer.size[1]}×{layer.size[0]}",
        f"each sees {columns}×{rows} px",
    ):
        y = page.text(area.x, y, fact, plan.size, colour=QUIET, width=plan.label - 8)
    for n, (feature_map, note, winners) in enumerate(maps[: plan.maps]):
        x = area.x + plan.label + n * (plan.tile + plan.gap)
        said = f"map {feature_map}"
        page.text(x, area.y, said, plan.size, bold=True)
        page.text(
            x + plan.tile, area.y, note, plan.size, colour=QUIET, align="right",
            width=plan.tile - 5.2 * line,
        )  # fmt: skip
        for rank, (projection, patch) in enumerate(winner_pictures(winners, _RANKS)):
            left = x + rank * (plan.cell + 2)
            page.picture(Area(left, top, plan.cell, plan.cell), projection)
            page.picture(Area(left, top + plan.cell + 2, plan.cell, plan.cell), patch)


# --- occlusion --------------------------------------------------------------------------------


@dataclass(frozen=True)
class OcclusionPanel:
    """An occlusion experiment with one picture; R × Q positions of the occluder.

    Attributes:
        title: the picture and its class.
        image: the net's input, (H, W, 3).
        occluded: the same with the occluder at one place.
        projection: of the activation that is watched, as large as the input, mid-grey elsewhere.
        feature_map: what is watched, as "conv5, map 47".
        total: (R, Q), evenly spread over the picture: the map's total activation.
        probability: (R, Q) of the correct class.
        class_name: the correct class, as the figure says it.
        top_class: (R, Q) the most probable class.
        names: of the classes in `top_class`.
        occluder: side in pixels.
        stride: pixels from place to place.
    """

    title: str
    image: Pixels
    occluded: Pixels
    projection: Pixels
    feature_map: str
    total: NDArray[np.floating]
    probability: NDArray[np.floating]
    class_name: str
    top_class: NDArray[np.integer]
    names: Mapping[int, str]
    occluder: int
    stride: int


def occlusion_height(width: float, size: float) -> float:
    """How high a panel is: two rows of three pictures."""
    line = size * POINT * 1.3
    return 2 * (_occlusion_cell(width, size) + 2.0 * line) + 6.5 * line


def _occlusion_cell(width: float, size: float) -> float:
    return (width - 2 * 1.6 * size * POINT * 1.3) / 3


def draw_occlusion(page: Page, area: Area, panel: OcclusionPanel, size: float) -> None:
    """What hiding each place does to a feature map and to the prediction."""
    line, cell = size * POINT * 1.3, _occlusion_cell(area.width, size)
    y = page.text(area.x, area.y, panel.title, size, colour=QUIET, width=area.width)
    classes, legend = class_colours(panel)
    last_of_picture = 2  # what follows are maps of data
    pictures: list[tuple[str, Pixels, tuple[float, float] | None]] = [
        ("picture", panel.image, None),
        (
            f"occluder {panel.occluder}×{panel.occluder}, stride {panel.stride}",
            panel.occluded,
            None,
        ),
        (f"projection of {panel.feature_map}", panel.projection, None),
        ("total activation of that map", *ramped(panel.total)),
        (f"probability of {panel.class_name}", *ramped(panel.probability, (0.0, 1.0))),
        ("most probable class", classes, None),
    ]
    for n, (title, pixels, limits) in enumerate(pictures):
        row, column = divmod(n, 3)
        x = area.x + column * (cell + 1.6 * line)
        top = y + 0.3 * line + row * (cell + 2.0 * line)
        page.text(x, top, title, size, width=cell)
        place = Area(x, top + 1.3 * line, cell, cell)
        page.picture(place, pixels, HAIR, sharp=n > last_of_picture)
        if limits is not None:
            _scale(page, Area(x, top + 1.5 * line + cell, cell, 0.5 * line), limits, size)
    x, top = area.x + 2 * (cell + 1.6 * line), y + 0.3 * line + 2 * cell + 3.5 * line
    for name, colour in legend:
        page.box(Area(x, top + 0.2 * line, 0.7 * line, 0.7 * line), HAIR, 0, fill=colour)
        top = page.text(x + line, top, name, 0.85 * size, width=cell - line)


def ramped(
    values: NDArray[np.floating], limits: tuple[float, float] | None = None
) -> tuple[Pixels, tuple[float, float]]:
    """A map in the colours of the ramp, (R, Q, 3), and what its ends stand for."""
    low, high = limits or (float(values.min()), float(values.max()))
    scaled = (values - low) / ((high - low) or 1.0)
    colours = matplotlib.colormaps[_RAMP](scaled, bytes=True)
    return np.asarray(colours, np.uint8)[..., :3], (low, high)


def class_colours(panel: OcclusionPanel) -> tuple[Pixels, list[tuple[str, str]]]:
    """The map of the most probable classes, and its legend: the most frequent ones have colours."""
    found, counts = np.unique(panel.top_class, return_counts=True)
    frequent = found[np.argsort(-counts, kind="stable")][:5]
    pixels = np.empty((*panel.top_class.shape, 3), np.uint8)
    pixels[:] = _bytes(_OTHER)
    legend = []
    for n, one in enumerate(frequent.tolist()):
        colour = RANK_COLOURS[n]
        pixels[panel.top_class == one] = _bytes(colour)
        legend.append((panel.names.get(one, f"class {one}"), colour))
    if len(found) > len(frequent):
        legend = [*legend[:4], ("other classes", _OTHER)]
        pixels[panel.top_class == frequent[-1]] = _bytes(_OTHER)
    return pixels, legend


def _bytes(colour: str) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in matplotlib.colors.to_rgb(colour))


def _scale(page: Page, area: Area, limits: tuple[float, float], size: float) -> None:
    """A colour bar below a map, its ends in numbers."""
    bar, _ = ramped(np.linspace(0, 1, 64)[None])
    page.picture(area, bar, HAIR)
    line = size * POINT * 1.3
    for value, x, align in zip(limits, (area.x, area.right), ("left", "right"), strict=True):
        page.text(
            x, area.bottom + 0.1 * line, f"{value:.3g}", 0.85 * size, colour=INK,
            align="left" if align == "left" else "right",
        )  # fmt: skip
