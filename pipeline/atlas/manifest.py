"""What the atlas' pages know of a run: one script for all of it, one for the winners of a layer.

They are scripts that assign an object, not JSON, since a page opened from a disk may load a
script but not fetch a file. The manifest has what every view and the search need, some 50 bytes
a feature map; the winners, an order more, are loaded with the first map of a layer that is
looked at. Both are ASCII, whatever encoding a server declares.

Columns stand beside each other (``active[m]``, ``max[m]``, … for map m): a third of the bytes of
a list of objects.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from pipeline import schema
from pipeline.atlas import sheets
from pipeline.atlas.places import public_name
from pipeline.config import LayerSpec, Machine, RunSpec
from pipeline.data.machines import unlike

Json = dict[str, Any]

NAME = "manifest.js"

KINDS = ("projections", "patches")
"""Of overviews."""


def layer_folder(layer: str) -> str:
    """Where all of a layer is, from the atlas' folder on."""
    return f"layers/{schema.quoted(layer)}"


def sheet_name(layer: str, feature_map: "int | str") -> str:
    """The sheet of a feature map."""
    return f"{layer_folder(layer)}/{feature_map}.webp"


def record_name(layer: str, page: int) -> str:
    """From what the sheets on a page of the overview were drawn."""
    return f"{layer_folder(layer)}/drawn-{page}.json"


def overview_name(layer: str, kind: str, page: int) -> str:
    """A page of a layer's overview, of one of the `KINDS`."""
    return f"{layer_folder(layer)}/{kind}-{page}.webp"


def winners_name(layer: str) -> str:
    """The script with a layer's winners."""
    return f"{layer_folder(layer)}/winners.js"


def overview_pages(maps: int) -> range:
    """The pages that the overview of so many feature maps takes."""
    return range(math.ceil(maps / sheets.OVERVIEW_CELLS))


class Classes:
    """The classes that occur, numbered in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int | None, str | None], int] = {}

    def number(self, label: int | None, name: str | None) -> int:
        """The class' number; -1 where neither its label nor its name is known."""
        if label is None and name is None:
            return -1
        return self._numbers.setdefault((label, name), len(self._numbers))

    def names(self) -> list[str]:
        """One distinct name per number; ImageNet for one has two classes called "crane"."""
        shown = [name or f"class {label}" for label, name in self._numbers]
        return [
            f"{name} ({label})" if shown.count(name) > 1 else name
            for name, (label, _) in zip(shown, self._numbers, strict=True)
        ]


@dataclass(frozen=True)
class Layer:
    """What the atlas shows of a layer.

    Args:
        spec: what it is.
        stats: its rows of ``feature_maps``, one per map, in order.
        winners: its winners up to the rank that is shown, ordered by map and rank.
        projected: the maps that have projections, hence sheets.
        layout: of its sheets.
    """

    spec: LayerSpec
    stats: pd.DataFrame
    winners: pd.DataFrame
    projected: frozenset[int]
    layout: sheets.Layout

    @property
    def name(self) -> str:
        """Of the layer."""
        return self.spec.name

    @property
    def maps(self) -> int:
        """How many feature maps the layer has, dead ones included."""
        return len(self.stats)

    @property
    def dead(self) -> list[int]:
        """The maps that no image activates."""
        return [m for m, active in enumerate(self.stats["active"]) if not active]

    @property
    def missing(self) -> list[int]:
        """The maps that have winners but no projections yet."""
        dead = set(self.dead)
        return [m for m in range(self.maps) if m not in self.projected and m not in dead]


def layer_entry(layer: Layer, classes: Classes) -> Json:
    """The manifest's entry for a layer; `classes` collects the classes met."""
    field = layer.spec.receptive_field
    images = layer.stats["images"].clip(lower=1)
    numbers = _class_numbers(layer.winners, classes)
    by_map: list[list[int]] = [[] for _ in range(layer.maps)]
    for feature_map, number in zip(layer.winners["feature_map"], numbers, strict=True):
        by_map[feature_map].append(number)
    return {
        "name": layer.name,
        "maps": layer.maps,
        "receptive_field": field.size,
        "stride": field.stride,
        "sheet": sheet_name(layer.name, "{map}"),
        "winners": winners_name(layer.name),
        "layout": {**asdict(layer.layout), "gutter": sheets.GUTTER, "spine": sheets.SPINE},
        "overview": {
            "columns": sheets.OVERVIEW_COLUMNS,
            "rows": sheets.OVERVIEW_ROWS,
            "cell": sheets.THUMBNAIL,
            "gutter": sheets.OVERVIEW_GUTTER,
            **{
                kind: [overview_name(layer.name, kind, n) for n in overview_pages(layer.maps)]
                for kind in KINDS
            },
        },
        "active": _short(layer.stats["active"] / images),
        "max": _short(layer.stats["max"]),
        "mean": _short(layer.stats["mean"]),
        "classes": by_map,
        "missing": layer.missing,
    }


def manifest(
    spec: RunSpec, layers: Sequence[Json], classes: Classes, counts: Mapping[str, int]
) -> bytes:
    """The manifest's script: it sets ``window.ATLAS``.

    Args:
        spec: what the run is.
        layers: from `layer_entry`, in the net's order.
        classes: the ones that the entries' numbers mean.
        counts: ``images`` seen, ``skipped`` samples.
    """
    document = {
        "format": 1,
        "run": {
            "net": spec.net,
            "weights": public_name(spec.weights),
            "data": public_name(spec.data),
            "top_k": spec.top_k,
            "versions": spec.versions,
            **counts,
        },
        "made": _made(spec),  # what else a viewer shows about the atlas
        "classes": classes.names(),
        "layers": list(layers),
        "winners": {},  # filled by the scripts of the layers
    }
    return f"window.ATLAS = {_dump(document)};\n".encode()


def _made(spec: RunSpec) -> Json:
    """Who mined the run: of several kinds of machines what they differ in."""
    differences = unlike(spec.machines)
    if differences:
        return {"Unlike machines": f"{differences}. Last bits may depend on who mined what."}
    return {"Machine": ", ".join(_machine(made.machine) for made in spec.machines)}


def _machine(machine: Machine) -> str:
    return f"{machine.device}, {machine.instructions}, {machine.decoder}"


def winners_script(layer: Layer, classes: Classes) -> bytes:
    """The script that adds a layer's winners to ``window.ATLAS.winners``.

    The winners of map m are those from ``first[m]`` up to ``first[m + 1]``; ``source`` has four
    numbers for each (top, left, bottom, right in the original picture's pixels).
    """
    winners = layer.winners
    counts = winners["feature_map"].value_counts().reindex(range(layer.maps), fill_value=0)
    codes, keys = pd.factorize(winners["key"])
    sides = [winners[f"source_{side}"] for side in ("top", "left", "bottom", "right")]
    document = {
        "first": [0, *counts.cumsum().tolist()],
        "rank": winners["rank"].tolist(),
        "activation": _short(winners["activation"]),
        "class": _class_numbers(winners, classes),
        "image": codes.tolist(),
        "keys": [str(key) for key in keys],
        "source": [
            round(float(value)) if math.isfinite(value) else None
            for box in zip(*sides, strict=True)
            for value in box
        ],
    }
    return f"window.ATLAS.winners[{json.dumps(layer.name)}] = {_dump(document)};\n".encode()


def _class_numbers(winners: pd.DataFrame, classes: Classes) -> list[int]:
    return [
        classes.number(None if pd.isna(label) else int(label), None if pd.isna(name) else str(name))
        for label, name in zip(winners["label"], winners["class_name"], strict=True)
    ]


def _short(values: "pd.Series[Any]") -> list[float | None]:
    """Four digits are all that is shown."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values]


def _dump(document: Json) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)
