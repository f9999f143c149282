"""One picture: what excites each layer most, and what the deconvnet makes of it.

For each layer the strongest activation over all its feature maps and positions; for the top layer
the strongest activations of several different feature maps. Nothing needs a dataset.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import schema
from pipeline.config import LayerSpec
from pipeline.core.graph.receptive_field import ReceptiveField, receptive_field
from pipeline.core.graph.trace import Layer
from pipeline.core.heaps.topk import ranked, strongest
from pipeline.core.nets.known import Net
from pipeline.core.projection.deconvnet import Ascent, Seeds, Unpooling, ascend, project
from pipeline.core.render import projection_contrast
from pipeline.data.pictures import Picture
from pipeline.errors import NumericsError, RequestError
from pipeline.stages.project import png

_SIDES = ("top", "left", "bottom", "right")

EXPLANATION = pa.schema(
    [
        pa.field("image", pa.string()),  # as asked for
        *(schema.WINNER.field(name) for name in ("sample", "label", "class_name")),
        pa.field("layer", pa.string()),
        *(schema.WINNER.field(name) for name in ("rank", "feature_map", "activation", "y", "x")),
        *(schema.WINNER.field(side) for side in _SIDES),
        *(schema.WINNER.field(f"source_{side}") for side in _SIDES),
        *(schema.PROJECTION.field(name) for name in ("projection", "patch")),
    ]
)
"""One row per (layer, rank); a layer that is wholly inactive has one row without activation."""


@dataclass(frozen=True)
class Activation:
    """A strong activation of one picture, and its projection.

    Attributes:
        layer: whose it is.
        rank: among the different feature maps of the layer, from 1.
        feature_map: which channel.
        y: row in the feature map.
        x: column in the feature map.
        value: the activation, above zero.
        box: top, left, bottom, right of its receptive field, clipped, in the net's input.
        source_box: the same in the original picture's pixels.
        projection: (3, bottom - top, right - left) float32, in the net's input space.
    """

    layer: str
    rank: int
    feature_map: int
    y: int
    x: int
    value: float
    box: tuple[int, int, int, int]
    source_box: tuple[float, float, float, float]
    projection: NDArray[np.float32]

    @property
    def contrast(self) -> NDArray[np.uint8]:
        """The projection in projection contrast, (H, W, 3)."""
        return projection_contrast(self.projection)


@dataclass(frozen=True)
class Explanation:
    """What one picture does in a net.

    Attributes:
        picture: the picture.
        layers: the layers that were looked at, in the order of the forward pass.
        found: by layer, in this order, then by rank; nothing of a layer that is inactive.
    """

    picture: Picture
    layers: tuple[LayerSpec, ...]
    found: tuple[Activation, ...]

    @property
    def top(self) -> str:
        """The layer of which several feature maps were looked at."""
        return self.layers[-1].name

    def of(self, layer: str) -> list[Activation]:
        """The activations of a layer by rank; none if all of it is inactive."""
        return [one for one in self.found if one.layer == layer]

    def patch(self, one: Activation) -> NDArray[np.uint8]:
        """The net's input under the receptive field, (H, W, 3)."""
        top, left, bottom, right = one.box
        return self.picture.pixels[top:bottom, left:right]


@dataclass(frozen=True)
class ExplainSettings:
    """How pictures are explained.

    Attributes:
        top: how many feature maps of the top layer are looked at.
        unpooling: as in the deconvnet.
    """

    top: int = 3
    unpooling: Unpooling = "sum"


def explain(
    net: Net,
    pictures: Sequence[Picture],
    layers: Sequence[str] | None = None,
    settings: ExplainSettings | None = None,
) -> list[Explanation]:
    """Find and project the strongest activations of some pictures.

    Args:
        net: on the device to use.
        pictures: run as one batch.
        layers: of the net, the last of them in the forward pass being the top; all by default.
        settings: how.

    Raises:
        RequestError: the net has no such layer.
        NumericsError: an activation is not finite.
    """
    settings = settings or ExplainSettings()
    graph = net.graph.only(_known(net, layers))
    if not pictures:
        return []
    device = next(graph.trunk.parameters()).device
    images = torch.stack([picture.image for picture in pictures]).to(device)
    ascent = ascend(graph, net.preprocessing.normalise(images))
    found: list[list[Activation]] = [[] for _ in pictures]
    for layer in graph.layers:
        most = settings.top if layer == graph.layers[-1] else 1
        field = receptive_field(graph, layer)
        seeds = _strongest_maps(ascent.activations[layer.name], layer, most)
        projections = project(graph, layer, ascent, seeds, settings.unpooling)
        for one in _activations(net, layer, field, ascent, seeds, projections, pictures):
            found[one[0]].append(one[1])
    specs = tuple(
        LayerSpec(
            name=layer.name,
            maps=layer.maps,
            size=layer.size,
            receptive_field=receptive_field(graph, layer),
        )
        for layer in graph.layers
    )
    return [
        Explanation(picture, specs, tuple(some))
        for picture, some in zip(pictures, found, strict=True)
    ]


def _known(net: Net, layers: Sequence[str] | None) -> list[str]:
    names = [layer.name for layer in net.graph.layers]
    for name in layers or ():
        if name not in names:
            raise RequestError(f"Net {net.name} has no layer {name!r}; it has {', '.join(names)}.")
    return list(layers) if layers else names


def _strongest_maps(maps: Tensor, layer: Layer, most: int) -> Seeds:
    """The strongest position of each image's `most` strongest maps, where above zero.

    Equal values go to the lower map, and in a map to the first position in row-major order.
    """
    values, places = strongest(maps)
    if not bool(values.isfinite().all()):
        image, feature_map = (~values.isfinite()).nonzero()[0].tolist()
        raise NumericsError(
            f"Layer {layer.name}, feature map {feature_map}: the activation on picture {image} "
            "of the batch is not finite; are these the net's weights?"
        )
    channels = torch.arange(layer.maps, device=values.device).expand_as(values)
    order = ranked(values, channels)[:, :most]
    image, rank = (values.gather(1, order) > 0).nonzero(as_tuple=True)
    chosen = order[image, rank]
    place = places[image, chosen]
    return Seeds(image, chosen, place // layer.size[1], place % layer.size[1])


def _activations(
    net: Net,
    layer: Layer,
    field: ReceptiveField,
    ascent: Ascent,
    seeds: Seeds,
    projections: Sequence[Tensor],
    pictures: Sequence[Picture],
) -> list[tuple[int, Activation]]:
    """The records of one layer, each with the image it belongs to; seeds come image by image."""
    image, maps, y, x = (
        column.cpu().numpy() for column in (seeds.image, seeds.feature_map, seeds.y, seeds.x)
    )
    boxes = field.boxes(y, x, net.preprocessing.input_size)
    sizes = np.array([pictures[i].size for i in image]).reshape(-1, 2)
    sources = net.preprocessing.source_boxes(boxes, *sizes.T) if len(image) else boxes
    values = ascent.at(layer.name, seeds).tolist()
    records = []
    for n, (i, value) in enumerate(zip(image.tolist(), values, strict=True)):
        top, left, bottom, right = boxes[n].tolist()
        above, before, below, behind = sources[n].tolist()
        one = Activation(
            layer.name, int((image[:n] == i).sum()) + 1,
            int(maps[n]), int(y[n]), int(x[n]), value,
            (top, left, bottom, right), (above, before, below, behind),
            projections[n].cpu().numpy().astype(np.float32),
        )  # fmt: skip
        records.append((i, one))
    return records


def to_table(explanation: Explanation) -> pa.Table:
    """The explanation as rows of `EXPLANATION`."""
    wanted = explanation.picture.wanted
    common = {
        "image": wanted.name,
        "sample": wanted.sample,
        "label": wanted.label,
        "class_name": wanted.class_name,
    }
    rows = []
    for layer in explanation.layers:
        found = explanation.of(layer.name)
        rows += [{**common, **_row(explanation, one)} for one in found]
        if not found:
            rows.append({**common, "layer": layer.name})
    return pa.Table.from_pylist(rows, schema=EXPLANATION)


def _row(explanation: Explanation, one: Activation) -> dict[str, object]:
    return {
        "layer": one.layer,
        "rank": one.rank,
        "feature_map": one.feature_map,
        "activation": one.value,
        "y": one.y,
        "x": one.x,
        **dict(zip(_SIDES, one.box, strict=True)),
        **{f"source_{side}": at for side, at in zip(_SIDES, one.source_box, strict=True)},
        "projection": png(one.contrast),
        "patch": png(explanation.patch(one)),
    }
