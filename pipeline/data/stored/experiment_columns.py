"""The columns of what the experiments find."""

import pyarrow as pa

from pipeline import schema

_WINNER = [
    pa.field("layer", pa.string()),
    *(schema.WINNER.field(name) for name in ("feature_map", "rank", "shard", "key", "sample")),
]

_DRAWN = [
    pa.field("drawn_down_to", pa.string()),  # the lowest layer whose weights are drawn anew
    pa.field("layers_drawn", pa.int16()),  # from that one up to the winner's
]

LIKENESS = pa.schema(
    [
        *_WINNER,
        *_DRAWN,
        pa.field("rank_correlation", pa.float64()),  # null where a projection is all zero
        pa.field("rank_correlation_of_magnitudes", pa.float64()),
        pa.field("structural_similarity", pa.float64()),
    ]
)
"""One row per winner and layer down to which weights are drawn anew: how like its projection still
is to the one through the net's own weights."""

REDRAWN = pa.schema([*_WINNER, *_DRAWN, *(schema.PROJECTION.field(n) for n in schema.PICTURES)])
"""Some of these winners as pictures, through the net's own weights (``layers_drawn`` 0) too."""

CORRESPONDENCE = pa.schema(
    [
        pa.field("layer", pa.string()),
        pa.field("part", pa.string()),  # what was hidden; "random" at random places
        pa.field("draw", pa.int16()),  # of these, which one; null of a part
        pa.field("image", pa.string()),
        pa.field("other_image", pa.string()),
        pa.field("distance", pa.float64()),
    ]
)
"""One row per layer, hidden part and pair of pictures: the share of features whose changes have
different signs."""

INVARIANCE = pa.schema(
    [
        pa.field("image", pa.string()),
        pa.field("transform", pa.string()),  # translation, scale or rotation
        pa.field("amount", pa.float64()),  # pixels of the net's input down, a factor, degrees
        pa.field("layer", pa.string()),
        pa.field("distance", pa.float64()),  # of the feature vectors, Euclid's
        pa.field("relative", pa.float64()),  # the same, by the length of the picture's own
        pa.field("label", pa.int32()),
        pa.field("class_name", pa.string()),
        pa.field("class_from", pa.string()),  # label or prediction
        pa.field("probability", pa.float64()),  # of that class
    ]
)
"""One row per picture, transform, amount and layer."""

EVOLUTION = pa.schema(
    [
        pa.field("layer", pa.string()),
        pa.field("feature_map", pa.int32()),
        pa.field("checkpoint", pa.int16()),  # from 1, in the order of the runs
        pa.field("run", pa.string()),
        pa.field("active", pa.int64()),
        pa.field("max", pa.float32()),
        pa.field("sample", pa.int64()),  # of the strongest winner; null of a dead map
        pa.field("shared_with_last", pa.float64()),  # of the last checkpoint's winners, which share
        pa.field("jumped", pa.bool_()),  # whether the strongest winner is another than before
        pa.field("likeness_to_previous", pa.float64()),  # of its projections, where it is not
        pa.field("became_itself", pa.int16()),  # first checkpoint with half of the last's winners
    ]
)
"""One row per feature map and checkpoint."""

MATCHES = pa.schema(
    [
        pa.field("run", pa.string()),
        pa.field("layer", pa.string()),
        pa.field("feature_map", pa.int32()),
        pa.field("other_run", pa.string()),
        # the map of the other run that shares most winners, and null where none does
        pa.field("other_layer", pa.string()),
        pa.field("other_map", pa.int32()),
        pa.field("shared", pa.int16()),
        pa.field("jaccard", pa.float64()),
        # the one whose means by class are most alike, and null where classes are not known
        pa.field("class_layer", pa.string()),
        pa.field("class_map", pa.int32()),
        pa.field("class_correlation", pa.float64()),
    ]
)
"""One row per feature map and other run: which of its maps is nearest."""

SPECTRA = pa.schema(
    [
        pa.field("run", pa.string()),
        pa.field("net", pa.string()),
        pa.field("layer", pa.string()),
        pa.field("maps", pa.int32()),
        pa.field("dead", pa.int32()),
        pa.field("low", pa.float64()),  # shares of the power of projections, means over maps
        pa.field("high", pa.float64()),
        pa.field("grid", pa.float64()),  # excess of power at the first layer's stride; 1 is none
        pa.field("filters_low", pa.float64()),  # of the first layer's filters; null of others
        pa.field("filters_high", pa.float64()),
        pa.field("filters_beyond_stride", pa.float64()),
    ]
)
"""One row per run and layer."""
