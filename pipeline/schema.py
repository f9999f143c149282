"""The contract in code: every object name in a run and the columns of every Parquet file."""

from collections.abc import Mapping
from typing import Any, NamedTuple
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
STATISTICS, DISTRIBUTIONS = "statistics", "distributions"
CLASSES, EXAMPLES = "classes", "examples"
MERGING = "merging"
PROJECTED, PROJECTIONS = "projected", "projections"
EXPLAIN, ATLAS = "explain", "atlas"
LIKENESS, REDRAWN = "control/likeness.parquet", "control/redrawn.parquet"
CORRESPONDENCE, INVARIANCE = "correspondence/distances.parquet", "invariance/distances.parquet"


class Pick(NamedTuple):
    """Images that are picked for each feature map, and projected.

    Attributes:
        rows: the folder that tells which.
        projections: that of their projections.
        projected: that of what tasks have projected, on its way there.
    """

    rows: str
    projections: str
    projected: str


WINNING = Pick(WINNERS, PROJECTIONS, PROJECTED)
EXEMPLARY = Pick(EXAMPLES, "example_projections", "example_projected")
PICKS = (WINNING, EXEMPLARY)

OCCLUSION_MAPS = "occlusion/maps"
"""The tables, alone in their folder: ``pd.read_parquet("RUN/occlusion/maps")`` reads them all."""

OCCLUSION_FIGURES = "occlusion/figures"

PROJECTION_SETTINGS = "projections.json"
"""How the projections of this run are made; one run has one way."""


def experiment_figure(experiment: str) -> str:
    """The figure of an experiment, without its form."""
    return f"{experiment}/figure"


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


def statistics_name(part: str) -> str:
    """How a part's activations are spread, by class, and those of some of its images.

    It is there before the part is done.
    """
    return f"{STATISTICS}/{part}.parquet"


def statistics_of_look(rescored: str) -> str:
    """What goes with an exact heap of a look: the activations of images that are kept whole."""
    return f"{STATISTICS}{rescored.removeprefix(HEAPS)}"


def condensed_statistics(condensed: str) -> str:
    """What goes with heaps of many parts in one."""
    return condensed.replace(".parquet", "-statistics.parquet")


def quoted(layer: str) -> str:
    """A layer's name within an object's, as in URLs; who reads Hive partitions unquotes it."""
    return quote(layer, safe="@")


def of_layer(folder: str, layer: str) -> str:
    """What is merged of a layer, in the folder of its kind."""
    return f"{folder}/layer={quoted(layer)}/part-0.parquet"


def winners_name(layer: str) -> str:
    """The merged winners of a layer."""
    return of_layer(WINNERS, layer)


def projections_folder(layer: str, pick: Pick = WINNING) -> str:
    """Where the projections of a layer are."""
    return f"{pick.projections}/layer={quoted(layer)}"


def projections_name(layer: str, first: int, last: int, ranks: int, pick: Pick = WINNING) -> str:
    """The projections of a layer's feature maps from `first` to before `last`, up to a rank."""
    folder = projections_folder(layer, pick)
    return f"{folder}/maps-{first:05d}-{last:05d}-ranks-{ranks:04d}.parquet"


def projected_name(unit: str, pick: Pick = WINNING) -> str:
    """What one task projected, on its way into the projections."""
    return f"{pick.projected}/{unit}.parquet"


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

SKIPPED_SAMPLE = pa.schema([*_SHARD_AND_KEY, pa.field("reason", pa.string())])

WINNER = pa.schema([*_RANKED, _BEFORE, *_WHERE, _SAMPLE, *_LABEL, *_BOX, *_SOURCE_BOX])
"""One row per (feature map, rank); the layer is the folder's name (Hive partitioning)."""

DISTRIBUTION = pa.schema(
    [
        pa.field("feature_map", pa.int32()),
        pa.field("lower", pa.float32()),
        pa.field("upper", pa.float32()),
        pa.field("images", pa.int64()),
    ]
)
"""One row per (feature map, bucket) with images whose activation is from `lower` to below `upper`;
the others are not active."""

OF_CLASS = pa.schema(
    [
        pa.field("feature_map", pa.int32()),
        *_LABEL,
        pa.field("images", pa.int64()),
        pa.field("active", pa.int64()),
        pa.field("mean", pa.float64()),
    ]
)
"""One row per (feature map, class): of how many images, on how many it is active, and the mean."""

QUANTILES = {
    "q10": 0.1,
    "q25": 0.25,
    "q50": 0.5,
    "q75": 0.75,
    "q90": 0.9,
    "q95": 0.95,
    "q99": 0.99,
    "q999": 0.999,
}
"""Columns of the feature maps' table: what so large a share of the images does not exceed."""

FEATURE_MAP = pa.schema(
    [
        *_OF_MAP,
        pa.field("mean", pa.float64()),
        pa.field("std", pa.float64()),
        *(pa.field(name, pa.float32()) for name in QUANTILES),
        pa.field("selectivity", pa.float64()),  # null where the images' classes are not known
        pa.field("class_entropy", pa.float64()),
        pa.field("best_class", pa.int32()),
        pa.field("best_class_name", pa.string()),
        # in WordNet, of the winners' classes, where they are ImageNet's
        pa.field("common_ancestor", pa.string()),
        pa.field("certified", pa.bool_()),  # whether no winner can be missing
    ]
)

QUANTILE = pa.field("quantile", pa.float32())
EXAMPLE = pa.schema([*WINNER, QUANTILE])
"""As a winner, but at a quantile of the map's activations; ranks count these from the highest."""

PICTURES = ("projection", "patch")
_PICTURES = [pa.field(name, pa.binary()) for name in PICTURES]

RANKS_SHOWN = 9
"""How many winners of a map an atlas shows at most, as in Zeiler and Fergus' figures."""

_WHOLE = pa.field("picture", pa.binary())  # a JPEG of the net's input; up to `RANKS_SHOWN`

MASK_SIDES = tuple(f"mask_{side}" for side in SIDES)
MASK = [
    pa.field("mask", pa.binary()),  # a PNG of one bit a cell, from the box's top left
    pa.field("mask_share", pa.float32()),
    *(pa.field(side, pa.int16()) for side in MASK_SIDES),
]
"""Where a projection is strong: the cells, how much of its magnitude lies in them, and their box in
the net's input."""

_AGAIN = [
    pa.field("picture_hash", pa.binary()),  # of the net's input, `duplicates.picture_hashes`
    pa.field("same_as", pa.int16()),  # the rank of the map that has this picture already, or null
]

PROJECTION = pa.schema(
    [*_RANKED, *_SHARD_AND_KEY, _SAMPLE, *_LABEL, *_BOX, *_PICTURES, *MASK, _WHOLE, *_AGAIN]
)
"""One row per winner; with `--arrays` also `PROJECTION_ARRAY`."""

PROJECTION_ARRAY = pa.field("projection_array", pa.binary())
"""float32 little-endian, C×H×W of the box."""

PROJECTED_ROW = pa.schema([pa.field("layer", pa.string()), *PROJECTION])
"""The same of any layer, as tasks store it; sorted by `PROJECTED_KEYS`."""

ROWS_READ = 32
"""Rows of these that are read together, at least: of what holds pictures, some maps are wanted."""

PROJECTED_KEYS = ["layer", "feature_map", "rank", "sample"]
"""Of one winner; its sample tells it from another one that had this rank before the data grew."""
