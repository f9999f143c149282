"""A run as mine and project leave it, with drawn pictures: for tests of what comes after."""

import io
import json

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline import schema
from pipeline.core.render import projection_contrast
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block

CLASSES = ["tench", "Persian cat", "tabby cat", "hammerhead", "red fox", '<b>&amp; "quoted"</b>']
LABELS = {"Persian cat": 283, "red fox": 277, "hammerhead": 4}
"""Of ImageNet's classes; others have their place in `CLASSES`, which is none of these."""
LAYERS = {"conv1": (64, 11, 4), "conv2": (150, 51, 8), "layer2.0.conv1": (20, 163, 16)}
INPUT = 224
QUANTILES = (0.99, 0.9, 0.5)
IMAGES = 400
DEAD = {("conv1", 5), ("layer2.0.conv1", 19)}


def write(store, layers=None, ranks=9, projected=None, pictures=None, seed=0):
    """Write a run of `layers` (name: maps, receptive field, stride) into `store`.

    `projected`: how many ranks of each map have projections; `pictures`: real ones to cut from.
    """
    layers = layers or LAYERS
    rng = np.random.default_rng(seed)
    pictures = pictures or [_picture(rng) for _ in range(24)]
    store.write(schema.RUN, json.dumps(_run(layers, ranks)).encode())
    store.write(schema.PROJECTION_SETTINGS, b'{"unpooling":"sum","arrays":false}')
    stats = []
    for layer, (maps, size, _) in layers.items():
        winners = [
            row
            for index in range(maps)
            if (layer, index) not in DEAD
            for row in _winners(rng, index, ranks if index % 7 else max(1, ranks // 2), size)
        ]
        store.write_table(schema.winners_name(layer), pa.Table.from_pylist(winners, schema.WINNER))
        _write_projections(store, layer, maps, winners, pictures, projected or ranks)
        _write_examples(store, layer, maps, winners, pictures)
        stats += _stats(layer, maps, winners)
        _write_known(store, layer, [row for row in stats if row["layer"] == layer])
    store.write_table(schema.FEATURE_MAPS, pa.Table.from_pylist(stats, schema.FEATURE_MAP))
    reasons = [{"shard": "s", "key": f"{n}.jpg", "reason": "truncated"} for n in range(3)]
    store.write_table(
        schema.skipped_name("part-7"), pa.Table.from_pylist(reasons, schema.SKIPPED_SAMPLE)
    )
    return store


def _run(layers, ranks):
    return {
        "net": "alexnet",
        "weights": "IMAGENET1K_V1",
        "weights_digest": "0" * 64,
        "classes": 1000,
        "preprocessing": {"resize": 256, "crop": INPUT},
        "precision": "exact",
        "data": "/home/someone/pictures/val",
        "format": "folder",
        "fingerprint": "f",
        "top_k": ranks,
        "layers": [
            {
                "name": layer,
                "maps": maps,
                "size": [INPUT // stride, INPUT // stride],
                "receptive_field": {
                    "size": [size, size],
                    "stride": [stride, stride],
                    "start": [-2, -2],
                },
            }
            for layer, (maps, size, stride) in layers.items()
        ],
    }


def _winners(rng, index, count, size):
    activations = -np.sort(-rng.gamma(2.0, 10.0, count).astype(np.float32))
    favourite = int(rng.integers(len(CLASSES)))
    samples = rng.choice(IMAGES, count, replace=False)
    for rank, (activation, sample) in enumerate(zip(activations, samples, strict=True), start=1):
        label = favourite if rng.random() < 0.6 else int(rng.integers(len(CLASSES)))
        at = rng.integers(-size // 3, INPUT - size + size // 3 + 1, 2)
        (top, left), (bottom, right) = np.clip(at, 0, INPUT), np.clip(at + size, 0, INPUT)
        box = dict(
            zip(
                ["top", "left", "bottom", "right"],
                map(int, (top, left, bottom, right)),
                strict=True,
            )
        )
        yield {
            "feature_map": index,
            "rank": rank,
            "activation": float(activation),
            "y": int(at[0]) // 8,
            "x": int(at[1]) // 8,
            "shard": "/home/someone/pictures/val",
            "key": f"{CLASSES[label].split()[0].strip('<>b/&amp;')}/picture_{sample:05d}.JPEG",
            "sample": int(sample),
            "label": LABELS.get(CLASSES[label], label),
            "class_name": CLASSES[label],
            **box,
            **{f"source_{side}": value * 1.5 for side, value in box.items()},
        }


def _write_projections(store, layer, maps, winners, pictures, projected):
    rows = [_projected(row, pictures) for row in winners if row["rank"] <= projected]
    for block in (Block(layer, at, min(at + 50, maps), projected) for at in range(0, maps, 50)):
        table = pa.Table.from_pylist(rows, schema.PROJECTION).filter(block.rows)
        store.write_table(block.name, table, schema.ROWS_READ)


def _write_examples(store, layer, maps, winners, pictures):
    """At each quantile the picture of a winner, with a lower activation."""
    rows = [
        {**row, "rank": rank, "quantile": quantile, "activation": row["activation"] * quantile / 2}
        for row in winners
        if row["rank"] == 1
        for rank, quantile in enumerate(QUANTILES, 1)
    ]
    store.write_table(
        schema.of_layer(schema.EXAMPLES, layer), pa.Table.from_pylist(rows, schema.EXAMPLE)
    )
    drawn = [_projected(row, pictures) | {"quantile": row["quantile"]} for row in rows]
    fields = pa.schema([*schema.PROJECTION, schema.QUANTILE])
    block = Block(layer, 0, maps, len(QUANTILES), schema.EXEMPLARY)
    store.write_table(block.name, pa.Table.from_pylist(drawn, fields), schema.ROWS_READ)


def _write_known(store, layer, stats):
    """Of each map where its images are, in ten buckets, and a mean for each class."""
    spread = [
        {
            "feature_map": row["feature_map"],
            "lower": row["max"] * number / 10,
            "upper": row["max"] * (number + 1) / 10,
            "images": max(1, row["active"] // 2 ** (number + 1)),
        }
        for row in stats
        if row["active"]
        for number in range(10)
    ]
    means = [
        {
            "feature_map": row["feature_map"],
            "label": LABELS.get(name, label),
            "class_name": name,
            "images": 50,
            "active": 40 - label,
            "mean": row["mean"] * (1 + (row["feature_map"] + label) % len(CLASSES)),
        }
        for row in stats
        for label, name in enumerate(CLASSES)
    ]
    for folder, rows, fields in (
        (schema.DISTRIBUTIONS, spread, schema.DISTRIBUTION),
        (schema.CLASSES, means, schema.OF_CLASS),
    ):
        store.write_table(schema.of_layer(folder, layer), pa.Table.from_pylist(rows, fields))


def _projected(winner, pictures):
    picture = pictures[winner["sample"] % len(pictures)]
    patch = picture[winner["top"] : winner["bottom"], winner["left"] : winner["right"]]
    grey = patch.astype(float) - patch.mean((0, 1))
    edges = np.zeros_like(grey)
    if min(grey.shape[:2]) > 1:
        edges = sum(np.gradient(grey, axis=(0, 1)))
    height, width = grey.shape[:2]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])[..., None]
    projection = projection_contrast((edges * window).transpose(2, 0, 1))
    columns = {name: winner[name] for name in schema.PROJECTION.names if name in winner}
    return {
        **columns,
        "projection": png(projection),
        "patch": png(patch),
        "mask": png_of_mask(height, width),
        "mask_share": 0.9,
        **dict(zip(schema.MASK_SIDES, box_of(winner), strict=True)),
        "picture": jpeg(picture),
        "picture_hash": winner["sample"].to_bytes(32, "big"),
        "same_as": 2 if (winner["feature_map"], winner["rank"]) == (3, 3) else None,
    }


def box_of(winner):
    """The middle of a winner's box."""
    top, left, bottom, right = (winner[side] for side in schema.SIDES)
    high, wide = (bottom - top) // 4, (right - left) // 4
    return top + high, left + wide, bottom - high, right - wide


def png_of_mask(height, width):
    """The mask of the middle of a box."""
    size = -(-max(height, width) // 32)
    cells = np.zeros((-(-height // size), -(-width // size)), bool)
    high, wide = (side // 4 for side in cells.shape)
    cells[high : cells.shape[0] - high, wide : cells.shape[1] - wide] = True
    sink = io.BytesIO()
    Image.fromarray(cells).save(sink, "PNG")
    return sink.getvalue()


def png(pixels):
    """The PNG of an (H, W, 3) array of bytes."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def jpeg(pixels):
    """The JPEG of an (H, W, 3) array of bytes."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG")
    return sink.getvalue()


def _picture(rng):
    """Soft colours with a few hard edges, so that a patch is not flat."""
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    pixels = np.array(small.resize((INPUT, INPUT), Image.Resampling.BICUBIC))
    for _ in range(6):
        y, x, h, w = rng.integers(8, INPUT // 2, 4)
        pixels[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return pixels


def _stats(layer, maps, winners):
    best = {row["feature_map"]: row["activation"] for row in reversed(winners)}
    for index in range(maps):
        peak = best.get(index, 0.0)
        yield {
            "layer": layer,
            "feature_map": index,
            "images": IMAGES,
            "active": (index * 37) % IMAGES + 1 if peak else 0,
            "max": peak,
            "mean": peak / 5,
            "std": peak / 9,
            **{name: peak * share / 2 for name, share in schema.QUANTILES.items()},
            "selectivity": index % 7 / 10 if peak else None,
            "class_entropy": 1.5 if peak else None,
            "common_ancestor": "cat" if index == 3 else None,
            "best_class": index % len(CLASSES) if peak else None,
            "best_class_name": CLASSES[index % len(CLASSES)] if peak else None,
        }


def temporary(path, **options):
    """A synthetic run in the folder `path`."""
    return write(Store(path), **options)
