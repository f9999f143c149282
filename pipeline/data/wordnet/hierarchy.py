"""The synsets that ImageNet's thousand classes are, and all above them.

`imagenet.tsv` has a line for each of these 1,860 synsets of WordNet 3.0: its id, its name (of a
class torchvision's, of others the first word), and the ids of its hypernyms.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

_PLACE = resources.files("pipeline.data.wordnet")


@dataclass(frozen=True)
class Synset:
    """A meaning.

    Attributes:
        name: of it.
        above: ids of its hypernyms; most have one.
    """

    name: str
    above: tuple[str, ...]


@cache
def synsets() -> dict[str, Synset]:
    """All by WordNet id."""
    text = (_PLACE / "imagenet.tsv").read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return {
        wnid: Synset(name, tuple(above.split(",")) if above else ()) for wnid, name, above in rows
    }


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """The ids of ImageNet's thousand classes, in the order of its nets' outputs."""
    return tuple((_PLACE / "imagenet_wnids.txt").read_text("ascii").split())


@cache
def lineage(wnid: str) -> dict[str, int]:
    """A synset and all above it, with how far each is from the root by the longest way."""
    above = synsets()[wnid].above
    found = {each: depth for parent in above for each, depth in lineage(parent).items()}
    return {**found, wnid: 1 + max((found[parent] for parent in above), default=-1)}


def common_ancestor(wnids: Collection[str]) -> str | None:
    """The lowest synset that is or stands above each of these; of several the first by id.

    The lowest is the one that is farthest from the root.
    """
    if not wnids:
        return None
    lines = [lineage(wnid) for wnid in wnids]
    shared = set.intersection(*map(set, lines))
    return min(shared, key=lambda each: (-lines[0][each], each))


def kinds_of(wnids: Iterable[str | None]) -> dict[str, list[int]]:
    """Synset → the places of those classes that it is or stands above."""
    kinds: dict[str, list[int]] = {}
    for place, wnid in enumerate(wnids):
        for each in lineage(wnid) if wnid else ():
            kinds.setdefault(each, []).append(place)
    return kinds
