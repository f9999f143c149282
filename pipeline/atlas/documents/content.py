"""What an atlas shows of a run, in the net's order of layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import schema
from pipeline.atlas import sheets
from pipeline.atlas.documents.known import Known
from pipeline.atlas.drawn import Drawn
from pipeline.config import LayerSpec, RunSpec

COLUMNS = [
    *("feature_map", "rank", "activation", "y", "x", "key", "sample", "label", "class_name"),
    *schema.SIDES,
    *(f"source_{side}" for side in schema.SIDES),
]
"""Of winners."""


def _known(label: float | None, name: str | None) -> tuple[int | None, str | None]:
    """A label and a class's name, None where they are not known."""
    return None if pd.isna(label) else int(label), None if pd.isna(name) else name


@dataclass(frozen=True)
class Layer:
    """A layer.

    Args:
        spec: what it is.
        stats: its rows of ``feature_maps``, one per map, in order.
        winners: its winners up to the rank that is shown, by map and rank; `COLUMNS`.
        projected: feature map → up to which rank it has projections.
        pages: what is drawn of it, by sprite.
        layout: of its sheets.
        known: of its maps beside their winners.
    """

    spec: LayerSpec
    stats: pd.DataFrame
    winners: pd.DataFrame
    projected: Mapping[int, int]
    pages: Sequence[Drawn]
    layout: sheets.Layout
    known: Known = field(default_factory=Known)

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
    def uncertified(self) -> list[int]:
        """The maps of which a winner may be missing."""
        return np.flatnonzero(~self.stats["certified"].fillna(True).astype(bool)).tolist()

    @property
    def missing(self) -> list[int]:
        """The maps that have winners but no projections yet."""
        dead = set(self.dead)
        return [m for m in range(self.maps) if m not in self.projected and m not in dead]


@dataclass(frozen=True)
class Content:
    """All of it.

    Args:
        spec: what the run is.
        layers: those with projections.
        skipped: how many samples could not be used.
        patches: whether pictures of the dataset are shown.
        credit: what is to be said of these.
        url: where the atlas will be seen, with the index's name; "" where that is not known.
        unpooling: of the projections.
        mined: on which day; "" where that is not known.
        outputs: layer → the names of its maps, where these are the net's outputs.
    """

    spec: RunSpec
    layers: tuple[Layer, ...]
    skipped: int = 0
    patches: bool = True
    credit: str = ""
    url: str = ""
    unpooling: str = "sum"
    mined: str = ""
    outputs: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many were seen."""
        return max(int(layer.stats["images"].max()) for layer in self.layers)

    @cached_property
    def winners(self) -> pd.DataFrame:
        """Those of all layers: `COLUMNS`, ``layer`` (its number) and ``class`` (in `classes`)."""
        frame = pd.concat(
            [layer.winners.assign(layer=number) for number, layer in enumerate(self.layers)],
            ignore_index=True,
        )
        return frame.assign(**{"class": self._class_numbers(frame)})

    @cached_property
    def pictured(self) -> frozenset[int]:
        """Samples whose whole pictures are there."""
        found = set()
        for layer in self.layers if self.patches else ():
            ranks = layer.winners["feature_map"].map(layer.projected).fillna(0)
            found |= set(layer.winners["sample"][layer.winners["rank"] <= ranks].tolist())
        return frozenset(found)

    @cached_property
    def classes(self) -> list[str]:
        """Distinct names of the classes that occur, in the order in which they are met.

        ImageNet for one has two classes called "crane".
        """
        seen = self.seen_classes
        names = [str(name) if pd.notna(name) else f"class {label}" for label, name in seen]
        return [
            f"{name} ({label})" if names.count(name) > 1 and pd.notna(label) else name
            for name, (label, _) in zip(names, seen, strict=True)
        ]

    def class_name(self, label: float, name: str | None) -> str:
        """What a class is called here, also one that no winner has; "" where it is not known."""
        known = _known(label, name)
        if known in self._names:
            return self._names[known]
        return known[1] or ("" if known[0] is None else f"class {known[0]}")

    @cached_property
    def _names(self) -> dict[tuple[int | None, str | None], str]:
        return dict(zip(self.seen_classes, self.classes, strict=True))

    @cached_property
    def seen_classes(self) -> list[tuple[int | None, str | None]]:
        """Label and name of those that occur, as `classes` has them."""
        frames = [layer.winners[["label", "class_name"]] for layer in self.layers]
        met = pd.concat(frames).drop_duplicates().dropna(how="all")
        return [_known(label, name) for label, name in met.itertuples(index=False, name=None)]

    def _class_numbers(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """-1 where neither label nor name is known."""
        met = pd.DataFrame(self.seen_classes, columns=["label", "class_name"])
        met = met.astype({"label": "Int64", "class_name": object})
        asked = frame[["label", "class_name"]].astype({"label": "Int64", "class_name": object})
        found = asked.merge(met.assign(number=range(len(met))), how="left")
        return found["number"].fillna(-1).to_numpy(np.int64)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Number of each layer's first feature map among those of all layers, and their count."""
        return np.cumsum([0, *(layer.maps for layer in self.layers)])
