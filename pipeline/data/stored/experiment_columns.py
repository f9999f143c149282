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
