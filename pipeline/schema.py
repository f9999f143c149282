"""The contract in code: every object name in a run and the columns of every Parquet file."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

# --- objects of a run -------------------------------------------------------------------------

RUN = "run.json"
"""What the run is; a command that disagrees with it is refused."""

FEATURE_MAPS = "feature_maps.parquet"
"""Written last by the merge: its presence says that the winners are complete."""

HEAPS, SCREEN, SKIPPED, WINNERS = "heaps", "screen", "skipped", "winners"
PROJECTIONS, EXPLAIN, ATLAS = "projections", "explain", "atlas"

OCCLUSION_MAPS = "occlusion/maps"
"""The tables, alone in their folder: ``pd.read_parquet("RUN/occlusion/maps")`` reads them all."""

OCCLUSION_FIGURES = "occlusion/figures"

PROJECTION_SETTINGS = "projections.json"
"""How the projections of this run are made; one run has one way."""


def heap_name(part: str) -> str:
    """The heap file of a part; its presence is the record that the part is done."""
    return f"{HEAPS}/{part}.parquet"


def screen_name(part: str) -> str:
    """Of a run in reduced precision, what the screening of a part found."""
    return f"{SCREEN}/{part}.parquet"


def rescored_name(part: str, look: int) -> str:
    """The exact heap of images of this and following parts that one task of a look looked at."""
    return f"{HEAPS}/{part}-{look}.parquet"


def skipped_name(part: str) -> str:
    """The samples of a part that could not be used; absent where there were none."""
    return f"{SKIPPED}/{part}.parquet"


def winners_name(layer: str) -> str:
    """The merged winners of a layer."""
    return f"{WINNERS}/layer={layer}/part-0.parquet"


def projections_folder(layer: str) -> str:
    """Where the projections of a layer are."""
    return f"{PROJECTIONS}/layer={layer}"


def projections_name(layer: str, batch: str) -> str:
    """The projections of a layer that one task made; `batch` follows from what is in it."""
    return f"{projections_folder(layer)}/{batch}.parquet"


SAMPLES_IN_PART = b"samples"
"""Key of a heap file's metadata: how many samples the part has, unusable ones included."""


def table_of(columns: Mapping[str, Any], fields: pa.Schema) -> pa.Table:
    """Columns by name as a table of this schema; what it does not name is left out."""
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in fields]
    return pa.Table.from_arrays(arrays, schema=fields)


# --- columns ----------------------------------------------------------------------------------

_WHERE = [
    pa.field("shard", pa.string()),
    pa.field("key", pa.string()),
    pa.field("offset", pa.int64()),
    pa.field("length", pa.int64()),
]
SIDES = ("top", "left", "bottom", "right")
_BOX = [pa.field(side, pa.int16()) for side in SIDES]
_SOURCE_BOX = [pa.field(f"source_{side}", pa.float32()) for side in SIDES]
_LABEL = [pa.field("label", pa.int32()), pa.field("class_name", pa.string())]

SAMPLES = pa.schema(
    [
        *_WHERE,
        *_LABEL,
        pa.field("width", pa.int32()),  # of the original picture
        pa.field("height", pa.int32()),
    ]
)
"""One row per sample of a part, in the order of the part."""

HEAP_ENTRY = pa.struct(
    [
        pa.field("activation", pa.float32()),
        pa.field("y", pa.int16()),
        pa.field("x", pa.int16()),
        pa.field("sample", pa.int64()),  # position within the part; the merge makes it global
        *SAMPLES,
    ]
)

_OF_MAP = [
    pa.field("layer", pa.string()),
    pa.field("feature_map", pa.int32()),
    pa.field("images", pa.int64()),
    pa.field("active", pa.int64()),
    pa.field("max", pa.float32()),
    pa.field("total", pa.float64()),  # of the per-image maxima
    pa.field("total_squares", pa.float64()),
]

HEAP = pa.schema([*_OF_MAP, pa.field("winners", pa.list_(HEAP_ENTRY))])  # in the order of rank
"""A part's heaps, one row per feature map; the file's metadata counts its `samples`."""

SCREENED = pa.struct([pa.field("value", pa.float32()), pa.field("sample", pa.int64())])
SCREEN_HEAP = pa.schema([*_OF_MAP, pa.field("kept", pa.list_(SCREENED))])
"""What screening keeps of a part: the largest values before rectification, in falling order."""

CHECKED = pa.struct([pa.field("slot", pa.int32()), pa.field("value", pa.float32())])
RESCORED_HEAP = pa.schema([*HEAP, pa.field("checked", pa.list_(CHECKED))])
"""A heap of images looked at again, whose samples are positions in the dataset, and the exact
values of some of the candidates."""

SKIPPED_SAMPLE = pa.schema(
    [pa.field("shard", pa.string()), pa.field("key", pa.string()), pa.field("reason", pa.string())]
)

WINNER = pa.schema(
    [
        pa.field("feature_map", pa.int32()),
        pa.field("rank", pa.int16()),
        pa.field("activation", pa.float32()),
        pa.field("y", pa.int16()),
        pa.field("x", pa.int16()),
        *_WHERE,
        pa.field("sample", pa.int64()),
        *_LABEL,
        *_BOX,
        *_SOURCE_BOX,
    ]
)
"""One row per (feature map, rank); the layer is the folder's name (Hive partitioning)."""

FEATURE_MAP = pa.schema(
    [
        pa.field("layer", pa.string()),
        pa.field("feature_map", pa.int32()),
        pa.field("images", pa.int64()),
        pa.field("active", pa.int64()),
        pa.field("max", pa.float32()),
        pa.field("mean", pa.float64()),
        pa.field("std", pa.float64()),
        pa.field("certified", pa.bool_()),  # whether no winner can be missing
    ]
)

PROJECTION = pa.schema(
    [
        pa.field("feature_map", pa.int32()),
        pa.field("rank", pa.int16()),
        pa.field("activation", pa.float32()),
        pa.field("y", pa.int16()),
        pa.field("x", pa.int16()),
        pa.field("shard", pa.string()),
        pa.field("key", pa.string()),
        pa.field("sample", pa.int64()),
        *_LABEL,
        *_BOX,
        pa.field("projection", pa.binary()),
        pa.field("patch", pa.binary()),
    ]
)
"""One row per winner; with `--arrays` also `PROJECTION_ARRAY`."""

PROJECTION_ARRAY = pa.field("projection_array", pa.binary())
"""float32 little-endian, C×H×W of the box."""

# --- single pictures --------------------------------------------------------------------------

EXPLANATION = pa.schema(
    [
        pa.field("image", pa.string()),  # as asked for
        *(WINNER.field(name) for name in ("sample", "label", "class_name")),
        pa.field("layer", pa.string()),
        *(WINNER.field(name) for name in ("rank", "feature_map", "activation", "y", "x")),
        *_BOX,
        *_SOURCE_BOX,
        *(PROJECTION.field(name) for name in ("projection", "patch")),
    ]
)
"""One row per (layer, rank); a layer that is wholly inactive has one row without activation."""

OCCLUSION = pa.schema(
    [
        pa.field("image", pa.string()),  # as asked for: a path or URL, or the sample's key
        *(WINNER.field(name) for name in ("shard", "key", "sample", "label")),
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
