"""The poster: one A0 page with what a run found, how it was found, and examples.

From top to bottom: the question, the net and its deconvnet, a row of feature maps per layer,
single pictures explained and occluded, and what it was all made from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.atlas.drawing.page import Area, Page
from pipeline.atlas.drawing.style import HAIR, INK, POINT, QUIET, place_name
from pipeline.atlas.drawing.type import LINE, broken
from pipeline.atlas.explain.bands import (
    depth_height,
    draw_depth,
    draw_top,
    top_height,
)
from pipeline.atlas.explain.items import Measure, depth_items, placed
from pipeline.atlas.net.columns import columns
from pipeline.atlas.net.diagram import diagram_height, draw_diagram
from pipeline.atlas.poster.panels import (
    Map,
    OcclusionPanel,
    RowPlan,
    draw_layer,
    draw_occlusion,
    occlusion_height,
)
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.graph.trace import Graph
from pipeline.data.findings import Explanation

WIDTH, HEIGHT = 841.0, 1189.0
"""A0, in millimetres."""

_MARGIN = 34.0
_INNER = WIDTH - 2 * _MARGIN
_DENSITY = 4.0
_GAP = 22.0
_HEADING = 21.0
_FOOTER = 40.0
_TITLE, _HEAD, _BODY, _SMALL = 104.0, 36.0, 25.0, 18.0
_DIAGRAM = 0.74  # of the width
_SHORT = 9  # columns of a diagram that need no more
_SOLE = 0.55  # likewise, of a panel that has no other beside it
MOST_LAYERS = 5

HOW = (
    "The net shrinks a picture layer by layer. For one feature map we keep the place where it is "
    "strongest and set all else to zero.",
    "The deconvnet takes this one activation back: it unpools by the switches that each pool "
    "recorded, rectifies, and filters with the transposed filters of the same layer.",
    "What arrives in pixel space, the projection, shows what in the picture excited the map. "
    "Mid-grey is zero.",
    "A box is all that a place of a layer sees of the input. It grows from layer to layer.",
)


@dataclass(frozen=True)
class PosterContent:
    """All that a poster shows.

    Attributes:
        spec: what the run is.
        graph: of its net.
        images: how many the run has seen.
        layers: the layers with a row, in order.
        maps: for each of them its feature maps, as many as `row_plan` says.
        criterion: how the maps were chosen, a sentence.
        examples: pictures that are explained; up to two.
        occlusion: experiments; up to two.
    """

    spec: RunSpec
    graph: Graph
    images: int
    layers: Sequence[LayerSpec]
    maps: Mapping[str, Sequence[Map]]
    criterion: str
    examples: Sequence[Explanation] = ()
    occlusion: Sequence[OcclusionPanel] = ()


def draw_poster(content: PosterContent) -> Page:
    """Draw the page."""
    page = Page(WIDTH, HEIGHT, _DENSITY)
    page.text(
        _MARGIN, _MARGIN - 10, f"What does {content.spec.net} look for?", _TITLE, bold=True,
        width=_INNER,
    )  # fmt: skip
    y = page.text(_MARGIN, _MARGIN + 40, _subtitle(content), 30, colour=QUIET, width=_INNER)
    y = _method(page, y + _GAP / 2, content)
    y = _layers(page, y + _GAP / 2, content)
    _bottom(page, y + _GAP / 2, content)
    _footer(page, content)
    return page


def row_plan(graph: Graph, layers: int, examples: int, occlusion: int) -> RowPlan:
    """How many feature maps have room in a layer's row, beside what else is on the page."""
    taken = _MARGIN + 58 + _GAP / 2 + _method_height(graph) + _GAP / 2 + _HEADING
    taken += _GAP / 2 + _bottom_height(examples, occlusion) + _FOOTER + _MARGIN
    height = min(150.0, max(60.0, (HEIGHT - taken) / max(1, layers)))
    return RowPlan.of(_INNER, height, _SMALL)


def _subtitle(content: PosterContent) -> str:
    maps = sum(layer.maps for layer in content.spec.layers)
    return (
        f"The strongest of {content.images:,} pictures for each of {maps:,} feature maps, and what "
        "a deconvnet sees of them"
    )


def _heading(page: Page, x: float, y: float, text: str, width: float) -> float:
    page.rule((x, y), (x + width, y), INK, 0.8)
    return page.text(x, y + 3, text, _HEAD, bold=True, width=width) + 1.5


# --- the method -------------------------------------------------------------------------------


def _method_height(graph: Graph) -> float:
    width = _diagram_width(graph)
    diagram = diagram_height(width, len(columns(graph)), _SMALL)
    if width < _INNER:
        return _HEADING + max(diagram, _how_height(_INNER - width - _GAP, 1))
    return _HEADING + diagram + _how_height(_INNER, len(HOW))


def _diagram_width(graph: Graph) -> float:
    """A long net takes the whole width, and the text goes below it."""
    return _DIAGRAM * _INNER if len(columns(graph)) <= _SHORT else _INNER


def _how_height(width: float, abreast: int) -> float:
    """How high `HOW` is as one column or with its paragraphs side by side."""
    line, each = _BODY * POINT * LINE, (width - (abreast - 1) * _GAP) / abreast
    heights = [len(broken(text, _BODY, each)) * line + 4 for text in HOW]
    return sum(heights) if abreast == 1 else max(heights) + 4


def _method(page: Page, y: float, content: PosterContent) -> float:
    """The diagram, and beside or below it how to read the rest."""
    width, end = _diagram_width(content.graph), y + _method_height(content.graph)
    top = _heading(page, _MARGIN, y, "The net and its deconvnet", width)
    picture = projection = None
    if content.examples:
        example = content.examples[0]
        picture = example.picture.pixels
        projection = placed(depth_items(example, [example.top]), picture.shape[0])
    height = diagram_height(width, len(columns(content.graph)), _SMALL)
    area = Area(_MARGIN, top, width, height)
    draw_diagram(page, area, content.graph, _SMALL, picture, projection)
    if width < _INNER:
        x, rest = _MARGIN + width + _GAP, _INNER - width - _GAP
        top = _heading(page, x, y, "How to read this", rest)
        for paragraph in HOW:
            top = page.lines(x, top, paragraph, _BODY, rest) + 4
    else:
        each = (_INNER - (len(HOW) - 1) * _GAP) / len(HOW)
        for n, paragraph in enumerate(HOW):
            page.lines(_MARGIN + n * (each + _GAP), top + height + 4, paragraph, _BODY, each)
    return end


# --- the layers -------------------------------------------------------------------------------


def _layers(page: Page, y: float, content: PosterContent) -> float:
    plan = row_plan(
        content.graph, len(content.layers), len(content.examples), len(content.occlusion)
    )
    text = "What excites each layer: projections of three winners, above the pictures they are from"
    y = _heading(page, _MARGIN, y, text, _INNER) + 3
    size = plan.name_size(content.layers)
    for layer in content.layers:
        area = Area(_MARGIN, y, _INNER, plan.height)
        draw_layer(page, area, layer, content.maps[layer.name], plan, size)
        y += plan.height
    return y


# --- single pictures --------------------------------------------------------------------------


def _bottom_height(examples: int, occlusion: int) -> float:
    """The height of the row of single pictures."""
    widths = _widths(examples, occlusion)
    heights = [_example_height(widths[0])] if examples else []
    if occlusion:
        heights.append(occlusion_height(widths[-1], _SMALL))
    return _HEADING + max(heights) if heights else 0.0


def _widths(examples: int, occlusion: int) -> list[float]:
    """The widths of the panels side by side: at most two, both kinds equally high."""
    count = min(2, examples + occlusion)
    if count < 2:
        return [_SOLE * _INNER] * count
    room = _INNER - _GAP
    if not (examples and occlusion):
        return [room / 2, room / 2]
    narrow, wide = 0.4 * room, 0.7 * room
    while wide - narrow > 1:
        width = (narrow + wide) / 2
        if _example_height(width) < occlusion_height(room - width, _SMALL):
            narrow = width
        else:
            wide = width
    return [narrow, room - narrow]


def _example_height(width: float) -> float:
    m = Measure(_SMALL)
    bands = depth_height(width, MOST_LAYERS, m, False) + top_height(width, MOST_LAYERS, m, False)
    return bands + 2.5 * m.line


def _bottom(page: Page, y: float, content: PosterContent) -> None:
    """Pictures explained on the left, occluded (or another one explained) on the right."""
    widths = _widths(len(content.examples), len(content.occlusion))
    room = max(min(1, len(content.occlusion)), 2 - len(content.examples))
    experiments = content.occlusion[:room]
    examples = content.examples[: len(widths) - len(experiments)]
    panels: list[Explanation | OcclusionPanel] = [*examples, *experiments]
    x = _MARGIN
    for width, panel in zip(widths, panels, strict=True):
        if isinstance(panel, OcclusionPanel):
            top = _heading(page, x, y, "What hiding each place does", width)
            draw_occlusion(page, Area(x, top, width, 0), panel, _SMALL)
        else:
            _example(page, x, y, width, panel, [layer.name for layer in content.layers])
        x += width + _GAP


def _example(
    page: Page, x: float, y: float, width: float, example: Explanation, layers: Sequence[str]
) -> None:
    wanted = example.picture.wanted
    name = wanted.class_name or wanted.name.rpartition("/")[2]
    y = _heading(page, x, y, f"One picture ({name}), layer by layer", width)
    measure = Measure(_SMALL)
    height = depth_height(width, len(layers), measure, False)
    draw_depth(page, Area(x, y, width, height), example, layers, measure)
    y += height + measure.line
    page.text(
        x, y, f"Its three strongest feature maps of {example.top}", _SMALL, bold=True, width=width
    )
    y += 1.5 * measure.line
    height = top_height(width, len(layers), measure, False)
    draw_top(page, Area(x, y, width, height), example, len(layers), measure)


# --- what it was made from --------------------------------------------------------------------


def _footer(page: Page, content: PosterContent) -> None:
    spec = content.spec
    y = HEIGHT - _MARGIN + 8 - _FOOTER
    page.rule((_MARGIN, y), (_MARGIN + _INNER, y), HAIR, 0.5)
    height, width = spec.preprocessing.input_size
    versions = ", ".join(f"{name} {number}" for name, number in spec.versions.items())
    facts = (
        f"{content.criterion} {projection_note()}",
        f"Net {spec.net}, weights {place_name(spec.weights)} ({spec.weights_digest[:8]}), input "
        f"{width}×{height}. Data: {content.images:,} images of {place_name(spec.data)}; the top "
        f"{spec.top_k} per feature map were kept. Made with {versions}.",
        "After Zeiler & Fergus, Visualizing and Understanding Convolutional Networks (2013).",
    )
    page.lines(_MARGIN, y + 4, " ".join(facts), _SMALL, _INNER, colour=QUIET)


def projection_note() -> str:
    """How projections are shown."""
    return "Each projection is scaled by the 99.5th percentile of its own magnitudes."
