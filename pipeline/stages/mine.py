"""Stage 1: stream a part of the dataset through the net and keep its heaps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import schema
from pipeline.core.networks import Net
from pipeline.core.topk import NOBODY, Heaps, strongest
from pipeline.data.batches import Batch, Picture, batches
from pipeline.data.samples import Part
from pipeline.data.shards import Dataset
from pipeline.data.store import Store
from pipeline.errors import NumericsError

SAMPLES_IN_PART = b"samples"
"""Key of a heap file's metadata: how many samples its part has, unusable ones included."""

_BATCH = {"cpu": 32, "cuda": 256}


@dataclass(frozen=True)
class PartDone:
    """What came of one part."""

    part: str
    images: int
    skipped: int


def mine_part(
    net: Net, dataset: Dataset, part: Part, run: Store, top_k: int, decoders: int = 1
) -> PartDone:
    """Mine one part and store its heap file, the record that the part is done.

    Args:
        net: with the layers to mine alone, on the device to use.
        dataset: what the part belongs to.
        part: which samples.
        run: where the results go; the same part again stores the same content.
        top_k: ranks kept per feature map.
        decoders: threads that decode.

    Raises:
        NumericsError: an activation is NaN or infinite; the text names layer and image.
        WriteError: the result could not be stored.
    """
    mined = mine(net, dataset, part, top_k, decoders)
    if mined.skipped:
        run.write_table(schema.skipped_name(part.name), _skipped_table(mined.skipped))
    run.write_table(schema.heap_name(part.name), _heap_table(net, mined))
    return PartDone(part.name, mined.heaps.images, len(mined.skipped))


@dataclass(frozen=True)
class Mined:
    """The heaps of a part, over the feature maps of all layers in their order.

    Attributes:
        heaps: samples in it are positions in `pictures`' numbering.
        pictures: those that were used, in the order of the part.
        skipped: those that could not be.
    """

    heaps: Heaps
    pictures: list[Picture]
    skipped: list[Picture]


def mine(net: Net, dataset: Dataset, part: Part, top_k: int, decoders: int = 1) -> Mined:
    """Stream a part through the net."""
    weight = next(net.graph.trunk.parameters())
    heaps = Heaps.empty(sum(layer.maps for layer in net.graph.layers), top_k, weight.device)
    mined = Mined(heaps, [], [])
    size = _BATCH[weight.device.type]
    for batch in batches(dataset.read(part), net.preprocessing, size, decoders):
        mined.pictures.extend(batch.pictures)
        mined.skipped.extend(batch.skipped)
        if batch.pictures:
            _add(net, heaps, batch, weight.device)
    return mined


def _add(net: Net, heaps: Heaps, batch: Batch, device: torch.device) -> None:
    images = batch.images.to(device, non_blocking=True)
    values, places = maxima(net, images)
    used = len(batch.pictures)
    samples = torch.tensor([picture.position for picture in batch.pictures], device=device)
    try:
        heaps.add(values[:used], places[:used], samples)
    except NumericsError as error:
        raise NumericsError(_not_finite(net, batch.pictures, values, *error.args)) from None


def maxima(net: Net, images: Tensor) -> tuple[Tensor, Tensor]:
    """The strongest activation of every feature map of every layer, side by side.

    Args:
        net: M feature maps in all.
        images: uint8 (N, 3, crop, crop), on the net's device.

    Returns:
        values (N, M) and flattened positions (N, M).
    """
    with torch.inference_mode():
        outputs = net.graph.trunk(net.preprocessing.normalise(images))
        peaks = [strongest(maps) for maps in outputs]
        values, places = zip(*peaks, strict=True)
        return torch.cat(values, 1), torch.cat(places, 1)


def _not_finite(
    net: Net, pictures: Sequence[Picture], values: Tensor, image: int, feature_map: int
) -> str:
    value = float(values[image, feature_map])
    sample = pictures[image].sample
    for layer in net.graph.layers:
        if feature_map < layer.maps:
            break
        feature_map -= layer.maps
    return (
        f"Layer {layer.name}, feature map {feature_map} is {value} on {sample.key} of "
        f"{sample.shard}; check the weights, or take the image out of the dataset."
    )


# --- tables -----------------------------------------------------------------------------------


def _skipped_table(skipped: Sequence[Picture]) -> pa.Table:
    rows = [
        {"shard": picture.sample.shard, "key": picture.sample.key, "reason": picture.problem}
        for picture in skipped
    ]
    return pa.Table.from_pylist(rows, schema=schema.SKIPPED_SAMPLE)


def _samples_table(pictures: Sequence[Picture]) -> pa.Table:
    rows = [
        {
            "shard": picture.sample.shard,
            "key": picture.sample.key,
            "offset": picture.sample.offset,
            "length": picture.sample.length,
            "label": picture.sample.label,
            "class_name": picture.sample.class_name,
            "height": picture.size[0],
            "width": picture.size[1],
        }
        for picture in pictures
    ]
    return pa.Table.from_pylist(rows, schema=schema.SAMPLES)


def _heap_table(net: Net, mined: Mined) -> pa.Table:
    """One row per feature map, its winners as a list in the order of rank."""
    layers, heaps = net.graph.layers, mined.heaps
    taken = (heaps.samples != NOBODY).cpu().numpy()
    positions = heaps.samples.cpu().numpy()[taken]
    places = heaps.places.cpu().numpy()[taken]
    maps = np.array([layer.maps for layer in layers])
    widths = np.repeat([layer.size[1] for layer in layers], maps)[taken.nonzero()[0]]
    winners = _entries(
        mined.pictures,
        positions,
        heaps.activations.cpu().numpy()[taken],
        places // widths,
        places % widths,
    )
    ends = np.concatenate([[0], taken.sum(1).cumsum()])
    columns = {
        "layer": np.repeat([layer.name for layer in layers], maps),
        "feature_map": np.concatenate([np.arange(count) for count in maps]),
        "images": np.full(len(taken), heaps.images),
        "active": heaps.active.cpu().numpy(),
        "max": heaps.peak.cpu().numpy(),
        "total": heaps.total.cpu().numpy(),
        "total_squares": heaps.total_squares.cpu().numpy(),
        "winners": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), winners),
    }
    total = str(len(mined.pictures) + len(mined.skipped))
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema.HEAP]
    table = pa.Table.from_arrays(arrays, schema=schema.HEAP)
    return table.replace_schema_metadata({SAMPLES_IN_PART: total})


def _entries(
    pictures: Sequence[Picture],
    positions: NDArray[np.int64],
    activations: NDArray[np.float32],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
) -> pa.StructArray:
    used = np.array([picture.position for picture in pictures], np.int64)
    sources = _samples_table(pictures).take(np.searchsorted(used, positions))
    columns = {
        "activation": pa.array(activations),
        "y": pa.array(y),
        "x": pa.array(x),
        "sample": pa.array(positions),
        **{name: sources[name].combine_chunks() for name in sources.column_names},
    }
    fields = list(schema.HEAP_ENTRY)
    arrays = [columns[field.name].cast(field.type) for field in fields]
    return pa.StructArray.from_arrays(arrays, fields=fields)
