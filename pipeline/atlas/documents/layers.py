"""What is said of a layer, and of each of its feature maps."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from pipeline import schema
from pipeline.atlas import sheets
from pipeline.atlas.assets import Assets
from pipeline.atlas.documents.content import Content, Layer
from pipeline.atlas.documents.names import layer_folder
from pipeline.atlas.documents.overlap import Overlap
from pipeline.atlas.documents.script import Json, adding, short


def write_layers(assets: Assets, content: Content) -> list[Json]:
    """Write the scripts of all layers; what the index says of each."""
    overlap = Overlap.of(content)
    bounds = np.searchsorted(content.winners["layer"], range(len(content.layers) + 1))
    return [
        _write_layer(assets, content, number, overlap, content.winners[first:last])
        for number, (first, last) in enumerate(pairwise(bounds))
    ]


def _write_layer(
    assets: Assets, content: Content, number: int, overlap: Overlap, winners: pd.DataFrame
) -> Json:
    layer = content.layers[number]
    folder = layer_folder(layer.name)
    pages = []
    for page, rows in enumerate(_pages(layer, winners)):
        document = _maps(content, number, page, rows, overlap)
        script = adding("maps", f"{layer.name}/{page}", document)
        pages.append(
            {"maps": assets.write(f"{folder}/maps-{page}.js", script)} | layer.pages[page].sprites
        )
        assets.use(layer.pages[page].names)
    script = adding("layers", layer.name, _statistics(layer, winners, content) | {"pages": pages})
    return {
        "name": layer.name,
        "maps": layer.maps,
        "dead": len(layer.dead),
        "receptive_field": layer.spec.receptive_field.size,
        "stride": layer.spec.receptive_field.stride,
        "size": layer.spec.size,
        "layout": {**asdict(layer.layout), "gutter": sheets.GUTTER},
        "script": assets.write(f"{folder}/layer.js", script),
        "strip": layer.pages[0].sprites["projections-small"],
    }


def _pages(layer: Layer, winners: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The winners of the maps of each sprite."""
    firsts = range(0, layer.maps, sheets.SPRITE_CELLS)
    bounds = np.searchsorted(winners["feature_map"], [*firsts, layer.maps])
    for start, end in pairwise(bounds):
        yield winners[start:end]


def _statistics(layer: Layer, winners: pd.DataFrame, content: Content) -> Json:
    """What the layer's page sorts and labels its maps by."""
    images = layer.stats["images"].clip(lower=1)
    most = _usual_classes(winners)
    numbers = sorted(set(most.values()))
    return {
        "active": short(layer.stats["active"] / images),
        "max": short(layer.stats["max"]),
        "mean": short(layer.stats["mean"]),
        "std": short(layer.stats["std"]),
        "selectivity": short(layer.stats["selectivity"].astype(float)),
        "uncertified": layer.uncertified,
        "missing": layer.missing,
        "outputs": list(content.outputs.get(layer.name, ())),
        "classes": [content.classes[number] for number in numbers],
        "usual": [numbers.index(most[m]) if m in most else -1 for m in range(layer.maps)],
    }


def _usual_classes(winners: pd.DataFrame) -> dict[int, int]:
    """The class that more than half of a map's winners have, of the maps that have such a one."""
    of_map = winners.groupby("feature_map")["class"]
    counts = of_map.value_counts().reset_index(name="times")
    counts["winners"] = counts["feature_map"].map(of_map.size())
    usual = counts["times"].gt(1) & counts["times"].mul(2).gt(counts["winners"])
    found = counts[usual & counts["class"].ge(0)]
    return dict(zip(found["feature_map"].tolist(), found["class"].tolist(), strict=True))


def _maps(
    content: Content, number: int, page: int, winners: pd.DataFrame, overlap: Overlap
) -> Json:
    """Of some maps all that their pages show: columns with a row for each winner.

    The winners of the page's map m are those from ``first[m]`` up to ``first[m + 1]``; ``box`` and
    ``source`` have four numbers for each (top, left, bottom, right in pixels of the net's input and
    of the original picture), ``centre`` two (y, x: what the strongest position looks at). Those
    in ``without`` have no whole picture. ``kept`` has of each map's projections, by rank, the
    square of their cell that they keep: top, left, side; ``again``, of the maps where there are
    any, the earlier rank that has the same picture, or 0.
    """
    layer = content.layers[number]
    start = page * sheets.SPRITE_CELLS
    maps = range(start, min(start + sheets.SPRITE_CELLS, layer.maps))
    counts = winners["feature_map"].value_counts().reindex(maps, fill_value=0)
    names = _Names()
    classes = [names.code(content.classes[n] if n >= 0 else "") for n in winners["class"]]
    known = _known(layer, maps, content, names)
    size = content.spec.preprocessing.input_size
    y, x = (winners[axis].to_numpy(np.int64) for axis in "yx")
    files = [layer.pages[page].of_map.get(m, {}) for m in maps]
    return {
        "first": [0, *counts.cumsum().tolist()],
        "rank": winners["rank"].tolist(),
        "activation": short(winners["activation"]),
        "class": classes,
        **known,
        "classes": names.all,
        "key": [str(key) for key in winners["key"]],
        "sample": winners["sample"].tolist(),
        "without": np.flatnonzero(~winners["sample"].isin(content.pictured)).tolist(),
        "box": winners[list(schema.SIDES)].to_numpy().ravel().tolist(),
        "centre": layer.spec.receptive_field.centres(y, x, size).ravel().tolist(),
        "source": _rounded(winners[[f"source_{side}" for side in schema.SIDES]]),
        "kept": [layer.pages[page].kept.get(m, []) for m in maps],
        "again": {m - start: of for m in maps if (of := layer.pages[page].again.get(m))},
        "near": [overlap.nearest(number, m) for m in maps],
        "files": _columns(files),
    }


class _Names:
    """Names, each told once."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        """The number of a name among all; -1 of an empty one."""
        return self._codes.setdefault(name, len(self._codes)) if name else -1

    @property
    def all(self) -> list[str]:
        """In the order of their numbers."""
        return list(self._codes)


def _known(layer: Layer, maps: range, content: Content, names: _Names) -> Json:
    """Of some maps what is known beside the winners, as `_maps` has these."""

    def rows_of(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[int]]:
        first = np.searchsorted(frame["feature_map"], [*maps, maps.stop])
        return frame[first[0] : first[-1]], (first - first[0]).tolist()

    def codes(frame: pd.DataFrame) -> list[int]:
        pairs = zip(frame["label"], frame["class_name"], strict=True)
        return [names.code(content.class_name(label, name)) for label, name in pairs]

    examples, first_example = rows_of(layer.known.examples)
    best, first_best = rows_of(layer.known.best)
    ancestors = layer.stats["common_ancestor"][maps.start : maps.stop]
    return {
        "ancestor": [names.code("" if pd.isna(each) else each) for each in ancestors],
        "bars": layer.known.bars[maps.start : maps.stop].tolist(),
        "examples": {
            "first": first_example,
            "rank": examples["rank"].tolist(),
            "quantile": short(examples["quantile"]),
            "activation": short(examples["activation"]),
            "class": codes(examples),
            "key": [str(key) for key in examples["key"]],
        },
        "best": {
            "first": first_best,
            "class": codes(best),
            "mean": short(best["mean"]),
            "share": short(best["share"]),
        },
    }


def _rounded(boxes: pd.DataFrame) -> list[int | None]:
    values = boxes.to_numpy(np.float64).ravel()
    return [round(value) if np.isfinite(value) else None for value in values.tolist()]


def _columns(files: Sequence[dict[str, Any]]) -> Json:
    """Kind → the name of each map's file, empty where it has none."""
    kinds = dict.fromkeys(kind for of_map in files for kind in of_map)
    return {kind: [of_map.get(kind, "") for of_map in files] for kind in kinds}
