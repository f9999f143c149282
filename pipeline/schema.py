"""The contract in code: every object name in a run and the columns of every Parquet file."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pyarrow as pa

# --- objects of a run -------------------------------------------------------------------------

RUN = "run.json"
"""What the run is; a command that disagrees with it is refused."""

LISTING = "listing.parquet"
"""The files of the dataset."""

FEATURE_MAPS = "feature_maps.parquet"
"""Written last by the merge: its presence says that the winners are complete."""

HEAPS, SCREEN, SKIPPED, WINNERS = "heaps", "screen", "skipped", "winners"
MERGING = "merging"
PROJECTED, PROJECTIONS = "projected", "projections"
EXPLAIN, ATLAS = "explain", "atlas"

OCCLUSION_MAPS = "occlusion/maps"
"""The tables, alone in their folder: ``pd.read_parquet("RUN/occlusion/maps")`` reads them all."""

OCCLUSION_FIGURES = "occlusion/figures"

PROJECTION_SETTINGS = "projections.json"
"""How the projections of this run are made; one run has one way."""


def progress_name(stage: str) -> str:
    """How far a stage is, or what it took at the end."""
    return f"progress/{stage}.json"


def heap_name(part: str) -> str:
    """The heap file of a part; its presence is the record that the part is done."""
    return f"{HEAPS}/{part}.parquet"


def screen_name(part: str) -> str:
    """Of a run in reduced precision, what the screening of a part found."""
    return f"{SCREEN}/{part}.parquet"


def rescored_name(part: str, look: int) -> str:
    """The exact heap of images of this and following parts that one task of a look looked at."""
    return f"{HEAPS}/{part}-{look}.parquet"


def condensed_name(attempt: str, share: int, number: int) -> str:
    """Heaps of many parts in one, as long as they are merged; in no finished run."""
    return f"{MERGING}/{attempt}/{share}-{number}.parquet"


def skipped_name(part: str) -> str:
    """The samples of a part that could not be used; absent where there were none.

    The first part of a run that has none at all has a table without rows.
    """
    return f"{SKIPPED}/{part}.parquet"


def quoted(layer: str) -> str:
    """A layer's name within an object's, as in URLs; who reads Hive partitions unquotes it."""
    return quote(layer, safe="@")


def winners_name(layer: str) -> str:
    """The merged winners of a layer."""
    return f"{WINNERS}/layer={quoted(layer)}/part-0.parquet"


def projections_folder(layer: str) -> str:
    """Where the projections of a layer are."""
    return f"{PROJECTIONS}/layer={quoted(layer)}"


def projections_name(layer: str, first: int, last: int, ranks: int) -> str:
    """The projections of a layer's feature maps from `first` to before `last`, up to a rank."""
    return f"{projections_folder(layer)}/maps-{first:05d}-{last:05d}-ranks-{ranks:04d}.parquet"


def projected_name(unit: str) -> str:
    """What one task projected, on its way into the projections."""
    return f"{PROJECTED}/{unit}.parquet"


SAMPLES_IN_PART = b"samples"
"""Key of a heap file's metadata: how many samples the part has, unusable ones included."""

REMARKS = b"remarks"
"""Another: a JSON list of what there is to say of the part's data."""


MACHINE = b"machine"
"""Key of the same, and of what screening and second looks store: who made it, as JSON."""


def table_of(columns: Mapping[str, Any], fields: pa.Schema) -> pa.Table:
    """Columns by name as a table of this schema; what it does not name is left out."""
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in fields]
    return pa.Table.from_arrays(arrays, schema=fields)


def entries_of(columns: Mapping[str, Any], entry: pa.StructType) -> pa.StructArray:
    """The same as entries of a list."""
    return table_of(columns, pa.schema(list(entry))).to_struct_array().combine_chunks()


# --- columns ----------------------------------------------------------------------------------

LISTED = pa.schema([pa.field("name", pa.string()), pa.field("bytes", pa.int64())])
"""The names are those below `DATA`, in the order of the dataset."""

SIDES = ("top", "left", "bottom", "right")

_SHARD_AND_KEY = [pa.field("shard", pa.string()), pa.field("key", pa.string())]
_WHERE = [*_SHARD_AND_KEY, pa.field("offset", pa.int64()), pa.field("length", pa.int64())]
_LABEL = [pa.field("label", pa.int32()), pa.field("class_name", pa.string())]
_BOX = [pa.field(side, pa.int16()) for side in SIDES]
_SOURCE_BOX = [pa.field(f"source_{side}", pa.float32()) for side in SIDES]
_SAMPLE = pa.field("sample", pa.int64())
_ACTIVATION = [
    pa.field("activation", pa.float32()),
    pa.field("y", pa.int16()),
    pa.field("x", pa.int16()),
]
_BEFORE = pa.field("before_rectification", pa.float32())  # null where that did not cut it off
RANKED_BY = (_BEFORE.name, "activation")
"""What winners are ranked by: the first of these that is there."""

_RANKED = [pa.field("feature_map", pa.int32()), pa.field("rank", pa.int16()), *_ACTIVATION]
_OF_MAP = [
    pa.field("layer", pa.string()),
    pa.field("feature_map", pa.int32()),
    pa.field("images", pa.int64()),
    pa.field("active", pa.int64()),
    pa.field("max", pa.float32()),
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

SKIPPED_SAMPLE = pa.schema([*_SHARD_AND_KEY, pa.field("reason", pa.string())])

WINNER = pa.schema([*_RANKED, _BEFORE, *_WHERE, _SAMPLE, *_LABEL, *_BOX, *_SOURCE_BOX])
"""One row per (feature map, rank); the layer is the folder's name (Hive partitioning)."""

# certified: whether no winner can be missing
FEATURE_MAP = pa.schema(
    [
        *_OF_MAP,
        pa.field("mean", pa.float64()),
        pa.field("std", pa.float64()),
        pa.field("certified", pa.bool_()),
    ]
)

_PICTURES = [pa.field("projection", pa.binary()), pa.field("patch", pa.binary())]

RANKS_SHOWN = 9
"""How many winners of a map an atlas shows at most, as in Zeiler and Fergus' figures."""

_WHOLE = pa.field("picture", pa.binary())  # a JPEG of the net's input; up to `RANKS_SHOWN`

PROJECTION = pa.schema([*_RANKED, *_SHARD_AND_KEY, _SAMPLE, *_LABEL, *_BOX, *_PICTURES, _WHOLE])
"""One row per winner; with `--arrays` also `PROJECTION_ARRAY`."""

PROJECTION_ARRAY = pa.field("projection_array", pa.binary())
"""float32 little-endian, C×H×W of the box."""

PROJECTED_ROW = pa.schema([pa.field("layer", pa.string()), *PROJECTION])
"""The same of any layer, as tasks store it; sorted by `PROJECTED_KEYS`."""

ROWS_READ = 32
"""Rows of these that are read together, at least: of what holds pictures, some maps are wanted."""

PROJECTED_KEYS = ["layer", "feature_map", "rank", "sample"]
"""Of one winner; its sample tells it from another one that had this rank before the data grew."""

# --- single pictures --------------------------------------------------------------------------

EXPLANATION = pa.schema(
    [
        pa.field("image", pa.string()),  # as asked for
        _SAMPLE,
        *_LABEL,
        pa.field("layer", pa.string()),
        pa.field("rank", pa.int16()),
        pa.field("feature_map", pa.int32()),
        *_ACTIVATION,
        _BEFORE,
        *_BOX,
        *_SOURCE_BOX,
        *_PICTURES,
    ]
)
"""One row per (layer, rank); a layer that is wholly inactive has one row without activation."""

OCCLUSION = pa.schema(
    [
        pa.field("image", pa.string()),  # as asked for: a path or URL, or the sample's key
        *_SHARD_AND_KEY,
        _SAMPLE,
        pa.field("label", pa.int32()),
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
