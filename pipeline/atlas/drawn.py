"""What of an atlas is drawn already, so that publishing again draws what has changed and no more.

Beside a page's sheets lies from what each of them was drawn. That is written after them, and
removed before one of them changes.
"""

import hashlib
import json
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter

import pyarrow as pa

from pipeline import schema
from pipeline.atlas import manifest
from pipeline.atlas.sheets import Layout
from pipeline.config import version_of
from pipeline.data.store import Store
from pipeline.data.stored.results import read_spec

IDENTITY = ["feature_map", "rank", "activation", "y", "x", "shard", "key", *schema.SIDES]
"""The columns of projections that tell what is to be drawn without the pictures themselves."""

_DIGITS = 16

Signatures = dict[str, str]
"""A sheet's name → a digest of what it was drawn from."""


def read_record(dest: Store, name: str) -> Signatures:
    """The signatures that were stored; without any nothing is drawn."""
    try:
        stored: Signatures = json.loads(dest.read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return stored


def method(run: Store, layout: Layout) -> str:
    """What all sheets of a layer follow from, beside their winners."""
    spec, settings = read_spec(run), run.read(schema.PROJECTION_SETTINGS).decode()
    own = [version_of("deconv-atlas"), spec.weights_digest, asdict(spec.preprocessing), settings]
    return json.dumps([*own, asdict(layout)])


def signatures(rows: pa.Table, layer: str, method: str) -> Signatures:
    """From what the sheets of some feature maps are drawn.

    Args:
        rows: their projections, `IDENTITY` at least, by map and rank.
        layer: of the maps.
        method: from `method`.
    """
    by_map = groupby(rows.select(IDENTITY).to_pylist(), key=itemgetter("feature_map"))
    return {
        manifest.sheet_name(layer, feature_map): _digest(f"{method}\0{list(of_map)}")
        for feature_map, of_map in by_map
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
