"""One position of a picture, projected over the whole of it: what figures show."""

from torch import Tensor

from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.projection.ascent import Ascent
from pipeline.core.projection.batch import Seeds
from pipeline.core.projection.deconvnet import Unpooling, project

Box = tuple[int, int, int, int]
"""Top, left, bottom, right, half-open."""


def project_position(
    graph: Graph, layer: Layer, ascent: Ascent, seed: Seeds, unpooling: Unpooling = "sum"
) -> tuple[Tensor, Box]:
    """The projection of one position, over the net's whole input.

    Args:
        graph: the net that `ascend` went up.
        layer: the layer of the position.
        ascent: the forward pass of the image.
        seed: the one position.
        unpooling: as in `project`.

    Returns:
        (C, H, W), zero outside the box, and the box: top, left, bottom, right of the position's
        receptive field, clipped to the input.
    """
    (projection,) = project(graph, layer, ascent, seed, unpooling)
    channels, *size = next(iter(graph.steps.values())).shape
    field = receptive_field(graph, layer)
    boxes = field.boxes(seed.y.cpu().numpy(), seed.x.cpu().numpy(), (size[0], size[1]))
    top, left, bottom, right = boxes[0].tolist()
    whole = projection.new_zeros(channels, *size)
    whole[:, top:bottom, left:right] = projection
    return whole, (top, left, bottom, right)
