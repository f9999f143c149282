"""A run whose heaps are made up, to measure what would take days to mine.

Some parts are drawn, and then come again: a part's bytes, and how many winners lie in how many
parts, are those of a real run, and so is the time that merging takes with them.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from pipeline import schema
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.heaps.peaks import Peaks
from pipeline.core.heaps.statistics import Statistics, lots, share_classed
from pipeline.core.nets.known import Net
from pipeline.data.batches import Picture, Seen
from pipeline.data.samples import Sample
from pipeline.data.store import Store
from pipeline.data.stored import part_columns
from pipeline.stages.heap_files import in_first_row, lists_of
from pipeline.stages.statistics_file import statistics_table

IMAGES = 1000
"""In a part."""

_DIFFERENT = 32


class MadeUp:
    """Puts heaps into a run that nobody has mined.

    Args:
        net: with its layers.
        run: an empty place on a disk.
        top_k: winners of each map.

    Attributes:
        spec: what the run is.
    """

    def __init__(self, net: Net, run: Store, top_k: int) -> None:
        self.spec = _spec(net, top_k)
        self._run = run
        for number in range(_DIFFERENT):
            run.write_table(_drawn(schema.HEAPS, number), _heap(net, number, top_k), by="layer")
            run.write_table(_drawn(schema.STATISTICS, number), _statistics(net, number), by="layer")
        for folder in (schema.HEAPS, schema.STATISTICS):
            Path(run.path(folder)).mkdir()

    def put(self, number: int, part: str) -> None:
        """The heap of a part, and its statistics, at hardly any cost.

        Args:
            number: of the part.
            part: its name.
        """
        names = {
            schema.HEAPS: schema.heap_name(part),
            schema.STATISTICS: schema.statistics_name(part),
        }
        for folder, name in names.items():
            drawn = _drawn(folder, number % _DIFFERENT)
            os.link(self._run.path(drawn), self._run.path(name))


def _drawn(folder: str, number: int) -> str:
    return f"drawn/{folder}-{number}.parquet"


def _statistics(net: Net, number: int) -> pa.Table:
    """Of a part of ImageNet's: pictures of all classes, of which hardly any is kept whole."""
    dice = np.random.default_rng(number)
    bounds = Peaks.of(net.graph).bounds
    maps, positions = len(bounds), np.arange(IMAGES)
    made = Statistics.empty(bounds, 0.0, share_classed(IMAGES, IMAGES, maps))
    values = torch.from_numpy(dice.gamma(2.0, 4.0, (IMAGES, maps)).astype(np.float32))
    classes = [(int(label), f"class {label}") for label in dice.integers(0, 1000, IMAGES)]
    drawn = lots(f"part {number}", positions)
    made.add(values, torch.zeros(IMAGES, maps, dtype=torch.int64), positions, drawn, classes)
    seen = Seen([Picture(Sample("", "", b""), position) for position in range(IMAGES)])
    return statistics_table(net, made, seen)


def _heap(net: Net, number: int, top_k: int) -> pa.Table:
    dice = np.random.default_rng(number)
    layers = net.graph.layers
    maps = sum(layer.maps for layer in layers)
    entries = min(top_k, IMAGES)
    values = -np.sort(-dice.gamma(2.0, 4.0, (maps, entries)).astype(np.float32), axis=1)
    samples = dice.permuted(np.tile(np.arange(IMAGES), (maps, 1)), axis=1)[:, :entries].ravel()
    sizes = np.repeat([layer.size for layer in layers], [layer.maps for layer in layers], axis=0)
    places = dice.integers(0, sizes.prod(1, keepdims=True), (maps, entries))
    count = maps * entries
    columns = {
        "activation": values.ravel(),
        "before_rectification": pa.nulls(count, pa.float32()),
        "y": (places // sizes[:, 1:]).ravel(),
        "x": (places % sizes[:, 1:]).ravel(),
        "sample": samples,
    }
    of_samples = {
        "sample": np.arange(IMAGES),
        "shard": np.full(IMAGES, f"s3://imagenet/train-{number:06d}.tar"),
        "key": [f"n{number:08d}_{sample}.JPEG" for sample in range(IMAGES)],
        "offset": np.arange(IMAGES) * 110_000,
        "length": np.arange(100_000, 100_000 + IMAGES),
        "label": np.arange(IMAGES),
        "class_name": [f"class {sample}" for sample in range(IMAGES)],
        "width": np.arange(300, 300 + IMAGES),
        "height": np.arange(300, 300 + IMAGES),
    }
    winners = schema.entries_of(columns, part_columns.HEAP_ENTRY)
    of_maps = {
        "layer": np.repeat([layer.name for layer in layers], [layer.maps for layer in layers]),
        "feature_map": np.concatenate([np.arange(layer.maps) for layer in layers]),
        "images": np.full(maps, IMAGES),
        "active": np.full(maps, IMAGES),
        "max": values[:, 0],
        "total": values.sum(1),
        "total_squares": (values**2).sum(1),
        "winners": lists_of(winners, np.full(maps, entries)),
        "samples": in_first_row(schema.entries_of(of_samples, part_columns.SAMPLE), maps),
    }
    table = schema.table_of(of_maps, part_columns.HEAP)
    return table.replace_schema_metadata({schema.SAMPLES_IN_PART: str(IMAGES)})


def _spec(net: Net, top_k: int) -> RunSpec:
    return RunSpec(
        net=net.name,
        weights="random:0",
        weights_digest="",
        classes=net.classes,
        preprocessing=net.preprocessing,
        layers=tuple(LayerSpec.of(net.graph, layer) for layer in net.graph.layers),
        top_k=top_k,
        precision="exact",
        data="made up",
        format="webdataset",
        fingerprint="",
    )
