"""What of an atlas is drawn already, so that publishing again draws what has changed and no more.

Beside the pictures of some feature maps lies from what each of them was drawn, and their names.
Visitors do not read it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa

from pipeline import schema
from pipeline.atlas.sheets import Layout
from pipeline.config import version_of
from pipeline.data.store import Store
from pipeline.data.stored.results import read_spec

IDENTITY = ["feature_map", "rank", "activation", "y", "x", "shard", "key", *schema.SIDES]
"""The columns of projections that tell what is to be drawn without the pictures themselves."""

SAID = [*schema.SIDES, *schema.MASK_SIDES, "same_as"]
"""Those that tell what is said of the pictures."""

_DIGITS = 16

Signatures = dict[int, str]
"""Feature map → a digest of what it is drawn from."""

Files = dict[str, str]
"""Kind of picture → name."""


@dataclass(frozen=True)
class Drawn:
    """The pictures of some feature maps.

    Attributes:
        signatures: of the maps that have pictures.
        of_map: feature map → its files: ``projections`` and ``patches``.
        sprites: ``projections-small`` and so on → a picture of all maps.
        kept: feature map → of each winner shown, `sheets.kept_square`.
        again: feature map → of each winner shown, the rank that has its picture already, or 0; of
            maps with such winners.
    """

    signatures: Signatures = field(default_factory=dict)
    of_map: dict[int, Files] = field(default_factory=dict)
    sprites: Files = field(default_factory=dict)
    kept: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    again: dict[int, list[int]] = field(default_factory=dict)

    @property
    def names(self) -> Iterator[str]:
        """Of all files."""
        yield from self.sprites.values()
        for files in self.of_map.values():
            yield from files.values()

    def encoded(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self)).encode()


def read_drawn(dest: Store, name: str) -> Drawn:
    """What was stored; nothing where that is not there, or not to be read."""
    try:
        stored: Any = json.loads(dest.read(name))
        by_map = {key: {int(m): of for m, of in stored[key].items()} for key in _BY_MAP}
        return Drawn(sprites=stored["sprites"], **by_map)
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return Drawn()


_BY_MAP = ("signatures", "of_map", "kept", "again")


def method(run: Store, layout: Layout, *, patches: bool) -> str:
    """What all pictures of a layer follow from, beside their winners."""
    spec, settings = read_spec(run), run.read(schema.PROJECTION_SETTINGS).decode()
    own = [version_of("deconv-atlas"), spec.weights_digest, asdict(spec.preprocessing), settings]
    return json.dumps([*own, asdict(layout), patches])


def signatures(rows: pa.Table, examples: pa.Table, method: str) -> Signatures:
    """From what the pictures of some feature maps are drawn.

    Args:
        rows: their projections, `IDENTITY` at least, by map and rank.
        examples: likewise those of examples.
        method: from `method`.
    """
    winners, others = _by_map(rows), _by_map(examples)
    return {
        feature_map: _digest(f"{method}\0{of_map}\0{others.get(feature_map)}")
        for feature_map, of_map in winners.items()
    }


def _by_map(rows: pa.Table) -> dict[int, list[Any]]:
    by_map = groupby(rows.select(IDENTITY).to_pylist(), key=itemgetter("feature_map"))
    return {feature_map: list(of_map) for feature_map, of_map in by_map}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
