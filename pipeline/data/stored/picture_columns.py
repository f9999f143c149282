"""The columns of what is found on single pictures, beside those of `schema`."""

import pyarrow as pa

from pipeline import schema


def _of_winners(*names: str) -> list[pa.Field]:
    return [schema.WINNER.field(name) for name in names]


EXPLANATION = pa.schema(
    [
        pa.field("image", pa.string()),  # as asked for
        *_of_winners("sample", "label", "class_name"),
        pa.field("layer", pa.string()),
        *_of_winners("rank", "feature_map", "activation", "y", "x", "before_rectification"),
        *_of_winners(*schema.SIDES, *(f"source_{side}" for side in schema.SIDES)),
        *(schema.PROJECTION.field(name) for name in ("projection", "patch")),
    ]
)
"""One row per (layer, rank); a layer that is wholly inactive has one row without activation."""

OCCLUSION = pa.schema(
    [
        pa.field("image", pa.string()),  # as asked for: a path or URL, or the sample's key
        *_of_winners("shard", "key", "sample", "label"),
        pa.field("net", pa.string()),
        pa.field("layer", pa.string()),
        pa.field("feature_map", pa.int32()),  # the strongest one without occluder
        pa.field("occluder", pa.int16()),  # its side, in pixels of the net's input
        pa.field("stride", pa.int16()),
        pa.field("colour", pa.string()),  # mean, or #rrggbb
        pa.field("correct_class", pa.int32()),
        pa.field("correct_class_name", pa.string()),
        pa.field("class_from", pa.string()),  # label, given or prediction
        pa.field("top", pa.int16()),  # of the occluder, in the net's input
        pa.field("left", pa.int16()),
        pa.field("total_activation", pa.float32()),  # summed over the map
        pa.field("probability", pa.float32()),  # of the correct class
        pa.field("top_class", pa.int32()),
        pa.field("top_class_name", pa.string()),
        pa.field("total_activation_without", pa.float32()),  # the same without occluder
        pa.field("probability_without", pa.float32()),
        pa.field("top_class_without", pa.int32()),
    ]
)
"""One row per picture and place of the occluder, row by row from the top left.

``frame.pivot(index="top", columns="left", values="probability")`` is a map.
"""
