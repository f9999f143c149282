"""Invariance: how far features go, and the class's probability, as a picture is transformed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.core.nets.known import Net
from pipeline.core.transforms import TRANSFORMS, amounts, transformed
from pipeline.data.class_names import ClassNames
from pipeline.data.formats.dataset import Dataset
from pipeline.data.pictures import Picture, Wanted, read_picture
from pipeline.data.stored.experiment_columns import INVARIANCE
from pipeline.stages.occlude import correct_class

_AT_ONCE = 32


def invariance_unit(
    net: Net, unit: Sequence[Wanted], dataset: Dataset | None, names: ClassNames
) -> pa.Table:
    """Transform some pictures; rows of `INVARIANCE`.

    Args:
        net: on the device to use; without a classifier no probabilities are told.
        unit: the pictures.
        dataset: the run's, for its samples.
        names: of the net's classes, and whether labels mean these.

    Raises:
        RequestError: a picture cannot be used, or its label is no class of the net.
    """
    rows = [
        row
        for wanted in unit
        for row in _rows(net, read_picture(wanted, net.preprocessing, dataset), names)
    ]
    return pa.Table.from_pylist(rows, schema=INVARIANCE)


def _rows(net: Net, picture: Picture, names: ClassNames) -> Iterator[dict[str, Any]]:
    label, source = correct_class(net, picture.wanted, names)
    (own,), (certain,) = _of(net, [picture.image])
    if certain is not None and label is None:
        label = int(certain.argmax())
    common = {"image": picture.wanted.name, "label": label, "class_from": source}
    if label is not None:
        common["class_name"] = names.names.get(label)
    fill = [255 * value for value in net.preprocessing.mean]
    for transform in TRANSFORMS:
        steps = amounts(transform, picture.image.shape[1])
        for first in range(0, len(steps), _AT_ONCE):
            some = steps[first : first + _AT_ONCE]
            images = [transformed(picture.image, transform, step, fill) for step in some]
            for step, features, likely in zip(some, *_of(net, images), strict=True):
                how = {"transform": transform, "amount": step}
                if likely is not None and label is not None:
                    how["probability"] = float(likely[label])
                for layer, moved in features.items():
                    distance = float((moved - own[layer]).norm())
                    relative = distance / max(float(own[layer].norm()), 1e-30)
                    found = {"layer": layer, "distance": distance, "relative": relative}
                    yield common | how | found


def _of(
    net: Net, images: Sequence[Tensor]
) -> tuple[list[Mapping[str, Tensor]], list[Tensor | None]]:
    """Of each image, uint8, its features by layer, flat in float64, and its probabilities."""
    batch = net.preprocessing.normalise(torch.stack(list(images)).to(net.device))
    with torch.inference_mode():
        made = net.graph.trunk(batch)
        logits = net.module(batch) if net.module is not None and net.classes else None
    features: list[Mapping[str, Tensor]] = [
        {
            layer.name: maps[number].flatten().double()
            for layer, maps in zip(net.graph.layers, made, strict=True)
        }
        for number in range(len(images))
    ]
    return features, [None] * len(images) if logits is None else list(logits.softmax(1))
