"""One picture: what excites each layer most, and what the deconvnet makes of it.

For each layer the strongest activation over all its feature maps and positions; for the top layer
the strongest activations of several different feature maps. Nothing needs a dataset.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline import schema
from pipeline.config import LayerSpec, choose_projectable
from pipeline.core.graph.trace import Layer
from pipeline.core.heaps.peaks import Peaks
from pipeline.core.heaps.topk import ranked
from pipeline.core.nets.known import Net
from pipeline.core.projection.deconvnet import Ascent, Seeds, ascend, project
from pipeline.data.findings import Activation, Explanation, Made
from pipeline.data.formats.dataset import Dataset
from pipeline.data.pictures import Picture, Wanted, read_picture
from pipeline.data.store import Store
from pipeline.data.stored import picture_columns
from pipeline.errors import NumericsError, RequestError
from pipeline.stages.project import png

_IMAGES_AT_ONCE = 8
_TOP_MAPS = 3

Draw = Callable[[Explanation], Mapping[str, bytes]]
"""Makes figures: extension → file."""


def units(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """The pictures cut into units of work, each one batch of the net."""
    starts = range(0, len(wanted), _IMAGES_AT_ONCE)
    return [list(wanted[at : at + _IMAGES_AT_ONCE]) for at in starts]


def explain_unit(
    net: Net,
    wanted: Sequence[Wanted],
    dataset: Dataset | None,
    run: Store,
    layers: Sequence[str] | None = None,
    draw: Draw | None = None,
) -> Made:
    """Explain one of `units`, and store a table and the figures of each picture.

    Args:
        net: on the device to use.
        wanted: the unit of work.
        dataset: the run's, for its samples.
        run: where the results go.
        layers: as in `explain_pictures`.
        draw: makes the figures; tables only without it.

    Returns:
        What was stored, the table of each picture before its figures.

    Raises:
        RequestError: the net has no such layer.
        WriteError: a result could not be stored.
    """
    made, pictures = Made.nothing(), []
    for asked in wanted:
        try:
            pictures.append(read_picture(asked, net.preprocessing, dataset))
        except RequestError as error:
            made.unusable.append(str(error))
    made.turned.extend(picture.wanted.name for picture in pictures if picture.is_turned)
    for explanation in explain_pictures(net, pictures, layers):
        stem = f"{schema.EXPLAIN}/{explanation.picture.wanted.file_stem}"
        made.stored.append(f"{stem}.parquet")
        run.write_table(made.stored[-1], to_table(explanation))
        for extension, figure in (draw(explanation) if draw else {}).items():
            made.stored.append(f"{stem}.{extension}")
            run.write(made.stored[-1], figure)
    return made


def explain_pictures(
    net: Net,
    pictures: Sequence[Picture],
    layers: Sequence[str] | None = None,
    top: int = _TOP_MAPS,
    others: int = 1,
) -> list[Explanation]:
    """Find and project the strongest activations of some pictures.

    Args:
        net: on the device to use.
        pictures: run as one batch.
        layers: of the net, the last of them in the forward pass being the top; all by default.
        top: how many feature maps of the top layer are looked at.
        others: how many of each other layer.

    Raises:
        RequestError: the net has no such layer.
        NumericsError: an activation is not finite.
    """
    names = [layer.name for layer in net.graph.layers]
    graph = net.graph.only(choose_projectable(names, layers, f"Net {net.name}", net.graph.opaque))
    if not pictures:
        return []
    images = torch.stack([picture.image for picture in pictures]).to(net.device)
    normalised = net.preprocessing.normalise(images)
    peaks = Peaks.of(graph)
    with torch.inference_mode():
        peaks_of = peaks.of_layers(normalised)
    bars = torch.split(peaks.bounds.to(net.device).bar, [layer.maps for layer in graph.layers])
    ascent = ascend(graph, normalised)
    found: list[list[Activation]] = [[] for _ in pictures]
    specs = tuple(LayerSpec.of(graph, layer) for layer in graph.layers)
    for layer, spec, (values, places), bar in zip(graph.layers, specs, peaks_of, bars, strict=True):
        count = top if layer == graph.layers[-1] else others
        seeds = _strongest_maps(values, places, bar, layer, count)
        unrectified = values[seeds.image, seeds.feature_map].tolist()
        projections = project(graph, layer, ascent, seeds)
        records = _activations(net, spec, ascent, seeds, unrectified, projections, pictures)
        for image, activation in records:
            found[image].append(activation)
    return [
        Explanation(picture, specs, tuple(activations))
        for picture, activations in zip(pictures, found, strict=True)
    ]


def _strongest_maps(values: Tensor, places: Tensor, bar: Tensor, layer: Layer, count: int) -> Seeds:
    """The strongest position of each image's `count` strongest maps, where they fire.

    Equal values go to the lower map, and in a map to the first position in row-major order.

    Args:
        values: (N, C) the largest of each map, before a rectification that only cuts values off.
        places: (N, C) where they stand, flattened.
        bar: (C,) what is above it fires.
        layer: whose maps they are.
        count: of the maps.
    """
    if not bool(values.isfinite().all()):
        image, feature_map = (~values.isfinite()).nonzero()[0].tolist()
        raise NumericsError(
            f"Layer {layer.name}, feature map {feature_map}: the activation on picture {image} "
            "of the batch is not finite; are these the net's weights?"
        )
    channels = torch.arange(layer.maps, device=values.device).expand_as(values)
    order = ranked(values, channels)[:, :count]
    image, rank = (values > bar).gather(1, order).nonzero(as_tuple=True)
    chosen = order[image, rank]
    place = places[image, chosen]
    return Seeds(image, chosen, place // layer.size[1], place % layer.size[1])


def _activations(
    net: Net,
    layer: LayerSpec,
    ascent: Ascent,
    seeds: Seeds,
    unrectified: Sequence[float],
    projections: Sequence[Tensor],
    pictures: Sequence[Picture],
) -> list[tuple[int, Activation]]:
    """The records of one layer, each with the image it belongs to; seeds come image by image."""
    image, maps, y, x = (
        column.cpu().numpy() for column in (seeds.image, seeds.feature_map, seeds.y, seeds.x)
    )
    boxes = layer.receptive_field.boxes(y, x, net.preprocessing.input_size)
    sizes = np.array([pictures[i].size for i in image]).reshape(-1, 2)
    sources = net.preprocessing.source_boxes(boxes, *sizes.T) if len(image) else boxes
    values = ascent.at(layer.name, seeds).tolist()
    records = []
    for n, (i, value) in enumerate(zip(image.tolist(), values, strict=True)):
        top, left, bottom, right = boxes[n].tolist()
        above, before, below, behind = sources[n].tolist()
        activation = Activation(
            layer.name, int((image[:n] == i).sum()) + 1,
            int(maps[n]), int(y[n]), int(x[n]), value, unrectified[n],
            (top, left, bottom, right), (above, before, below, behind),
            projections[n].cpu().numpy().astype(np.float32),
        )  # fmt: skip
        records.append((i, activation))
    return records


def to_table(explanation: Explanation) -> pa.Table:
    """The explanation as rows of `picture_columns.EXPLANATION`."""
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
        rows += [{**common, **_row(explanation, activation)} for activation in found]
        if not found:
            rows.append({**common, "layer": layer.name})
    return pa.Table.from_pylist(rows, schema=picture_columns.EXPLANATION)


def _row(explanation: Explanation, activation: Activation) -> dict[str, object]:
    source_sides = [f"source_{side}" for side in schema.SIDES]
    return {
        "layer": activation.layer,
        "rank": activation.rank,
        "feature_map": activation.feature_map,
        "activation": activation.value,
        "before_rectification": None if activation.is_whole else activation.unrectified,
        "y": activation.y,
        "x": activation.x,
        **dict(zip(schema.SIDES, activation.box, strict=True)),
        **dict(zip(source_sides, activation.source_box, strict=True)),
        "projection": png(activation.contrast),
        "patch": png(explanation.patch(activation)),
    }
