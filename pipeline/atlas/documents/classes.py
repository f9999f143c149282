"""What is said of the dataset's classes, and of each picture that has won something."""

from itertools import pairwise

import numpy as np
import pandas as pd

from pipeline import schema
from pipeline.atlas.assets import Assets
from pipeline.atlas.documents.content import Content
from pipeline.atlas.documents.script import Json, adding
from pipeline.atlas.figures import Figures
from pipeline.data.class_names import class_synset
from pipeline.data.wordnet.hierarchy import kinds_of, synsets

_CLASSES = 32
_PICTURES = 128
"""So many are told of in one script."""


def write_classes(assets: Assets, content: Content) -> str:
    """For each class the maps with it among their winners; the script that lists the classes.

    Those that have it most come first, then the deeper layers: what a class shares with others is
    all over the early ones.
    """
    named = content.winners[content.winners["class"] >= 0]
    counts = named.groupby(["class", "layer", "feature_map"]).size().reset_index(name="times")
    counts = counts.sort_values(
        ["class", "times", "layer", "feature_map"], ascending=[True, False, False, True]
    )
    firsts = range(0, len(content.classes), _CLASSES)
    parts = []
    for part, first in enumerate(firsts):
        rows = counts[counts["class"].between(first, first + _CLASSES - 1)]
        document = {
            **_starts(rows["class"], first, min(_CLASSES, len(content.classes) - first)),
            **{name: rows[name].tolist() for name in ("layer", "feature_map", "times")},
        }
        parts.append(assets.write(f"classes/{part}.js", adding("class", part, document)))
    maps = counts["class"].value_counts().reindex(range(len(content.classes)), fill_value=0)
    document = {
        "names": content.classes,
        "maps": maps.tolist(),
        "each": _CLASSES,
        "parts": parts,
        "kinds": _kinds(content),
    }
    return assets.write("classes/classes.js", adding("classes", "", document))


def _kinds(content: Content) -> list[tuple[str, list[int]]]:
    """What some classes are, but not all, by name, and which; where these are ImageNet's."""
    seen = [class_synset(*of_class) for of_class in content.seen_classes]
    kinds = [
        (synsets()[wnid].name, places)
        for wnid, places in kinds_of(seen).items()
        if 1 < len(places) < len(seen)
    ]
    return sorted(kinds)


def write_pictures(assets: Assets, content: Content, figures: Figures | None = None) -> str:
    """For each picture what it has won; the script that tells which script tells it.

    Args:
        assets: where to.
        content: what is shown.
        figures: what else the run has of some pictures.
    """
    winners = content.winners.sort_values(["sample", "layer", "feature_map"])
    samples = np.unique(winners["sample"])
    firsts = samples[::_PICTURES].tolist()
    bounds = np.searchsorted(winners["sample"], [*firsts, np.iinfo(np.int64).max])
    parts = []
    for part, (start, end) in enumerate(pairwise(bounds)):
        document = _pictures(winners[start:end], content, figures or {})
        parts.append(assets.write(f"pictures/{part}.js", adding("picture", part, document)))
    document = {"firsts": firsts, "parts": parts}
    return assets.write("pictures/pictures.js", adding("pictures-of", "", document))


def _pictures(winners: pd.DataFrame, content: Content, figures: Figures) -> Json:
    samples, where = np.unique(winners["sample"], return_index=True)
    each = winners.iloc[where]
    classes = [content.classes[n] if n >= 0 else "" for n in each["class"].tolist()]
    return {
        "sample": samples.tolist(),
        "key": [str(key) for key in each["key"]],
        "class": classes,
        "figures": {n: figures[n] for n in samples.tolist() if n in figures},
        "whole": [int(sample in content.pictured) for sample in samples.tolist()],
        "first": [*where.tolist(), len(winners)],
        **{name: winners[name].tolist() for name in ("layer", "feature_map", "rank")},
        "box": winners[list(schema.SIDES)].to_numpy().ravel().tolist(),
    }


def _starts(numbers: "pd.Series[int]", first: int, count: int) -> Json:
    """Where the rows of each of so many numbers start."""
    return {"first": np.searchsorted(numbers, range(first, first + count + 1)).tolist()}
