"""ImageNet's classes in WordNet."""

import pytest
from torchvision.models import AlexNet_Weights

from pipeline.data.class_names import class_synset, is_same
from pipeline.data.wordnet.hierarchy import (
    common_ancestor,
    imagenet_wnids,
    kinds_of,
    lineage,
    synsets,
)

CATEGORIES = AlexNet_Weights.IMAGENET1K_V1.meta["categories"]
ENTITY = "n00001740"


def name(wnid: str | None) -> str:
    assert wnid is not None
    return synsets()[wnid].name


def of(*classes: str) -> list[str]:
    return [imagenet_wnids()[CATEGORIES.index(each)] for each in classes]


def test_every_class_has_its_name_and_a_way_to_the_root() -> None:
    for label, (wnid, category) in enumerate(zip(imagenet_wnids(), CATEGORIES, strict=True)):
        assert is_same(synsets()[wnid].name, category)
        assert class_synset(label, category) == wnid
        assert class_synset(None, wnid) == wnid
        assert lineage(wnid)[ENTITY] == 0
        assert lineage(wnid)[wnid] == max(lineage(wnid).values())
    assert all(parent in synsets() for each in synsets().values() for parent in each.above)


@pytest.mark.parametrize(
    ("label", "class_name"),
    [(3, "wheels"), (3, None), (None, "tench"), (1000, "tench"), (0, "class 0"), (None, None)],
)
def test_other_classes_have_no_synset(label: int | None, class_name: str | None) -> None:
    assert class_synset(label, class_name) is None


@pytest.mark.parametrize(
    ("classes", "ancestor"),
    [
        (["tabby"], "tabby"),
        (["tabby", "Persian cat"], "domestic cat"),
        (["tabby", "lion"], "feline"),
        (["beagle", "Great Dane", "Chihuahua"], "dog"),
        (["beagle", "tabby"], "carnivore"),
        (["minivan", "convertible"], "car"),
        (["goldfish", "tench"], "cyprinid"),
    ],
)
def test_what_classes_have_in_common(classes: list[str], ancestor: str) -> None:
    assert name(common_ancestor(of(*classes))) == ancestor
    assert name(common_ancestor(of(*reversed(classes)))) == ancestor


def test_nothing_has_nothing_in_common() -> None:
    assert common_ancestor([]) is None


def test_classes_by_kind() -> None:
    kinds = kinds_of([*of("beagle", "tabby"), None, *of("Great Dane")])
    named = {name(wnid): places for wnid, places in kinds.items()}
    assert named["dog"] == [0, 3]
    assert named["carnivore"] == [0, 1, 3]
    assert named["tabby"] == [1]
    every = kinds_of(imagenet_wnids())
    assert len(every["n02084071"]) == 118  # ImageNet's dogs
