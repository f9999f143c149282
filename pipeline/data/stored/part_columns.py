"""The columns of what stage 1 stores of parts, beside those of `schema`: seen by no user."""

import pyarrow as pa

from pipeline import schema


def _of_winners(*names: str) -> list[pa.Field]:
    return [schema.WINNER.field(name) for name in names]


_SAMPLE = schema.WINNER.field("sample")
_WHERE = _of_winners("shard", "key", "offset", "length")
_LABEL = _of_winners("label", "class_name")
_ACTIVATION = _of_winners("activation", "y", "x")
_BEFORE = schema.WINNER.field("before_rectification")  # null where that did not cut it off
_OF_MAP = [
    schema.FEATURE_MAP.field(name) for name in ("layer", "feature_map", "images", "active", "max")
]
_SUMS = [pa.field("total", pa.float64()), pa.field("total_squares", pa.float64())]

# width and height are those of the original picture
SAMPLE = pa.struct(
    [_SAMPLE, *_WHERE, *_LABEL, pa.field("width", pa.int32()), pa.field("height", pa.int32())]
)
"""What is known of a sample; it is the position within the part, which the merge makes global."""

HEAP_ENTRY = pa.struct([*_ACTIVATION, _BEFORE, _SAMPLE])
"""A winner of a part."""

HEAP = pa.schema(
    [
        *_OF_MAP,
        *_SUMS,
        pa.field("winners", pa.list_(HEAP_ENTRY)),  # in the order of rank
        pa.field("samples", pa.list_(SAMPLE)),  # all that win anything, in their order
    ]
)
"""A part's heaps, one row per feature map, `samples` in the first row alone: each of them wins many
times. The file's metadata counts the part's `samples`."""

SCREENED = pa.struct([pa.field("value", pa.float32()), _SAMPLE])
SCREEN_HEAP = pa.schema([*_OF_MAP, *_SUMS, pa.field("kept", pa.list_(SCREENED))])
"""What screening keeps of a part: the largest values before rectification, in falling order."""

CHECKED = pa.struct([pa.field("slot", pa.int32()), pa.field("value", pa.float32())])
RESCORED_HEAP = pa.schema([*HEAP, pa.field("checked", pa.list_(CHECKED))])
"""A heap of images looked at again, whose samples are positions in the dataset, and the exact
values of some of the candidates."""

KEPT_SAMPLE = pa.struct([*SAMPLE, pa.field("lot", pa.float64())])
KEPT_ENTRY = pa.struct([*_ACTIVATION, _BEFORE])
CLASS = pa.struct([*_LABEL, pa.field("images", pa.int32())])

STATISTIC = pa.schema(
    [
        pa.field("layer", pa.string()),
        pa.field("feature_map", pa.int32()),
        pa.field("first", pa.int16()),  # the bucket of the first of the counts
        pa.field("counts", pa.list_(pa.int32())),
        pa.field("class_totals", pa.list_(pa.float32())),  # in the order of the classes
        pa.field("class_active", pa.list_(pa.int32())),
        pa.field("kept", pa.list_(KEPT_ENTRY)),  # in the order of their samples
        pa.field("classes", pa.list_(CLASS)),
        pa.field("kept_samples", pa.list_(KEPT_SAMPLE)),
    ]
)
"""A part's statistics, one row per feature map; `classes` and `kept_samples` in the first alone."""
