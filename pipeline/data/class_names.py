"""Names of classes, and whether a dataset's labels are the net's classes.

A number is only a number: label 3 of some birds is no tiger shark, though class 3 of ImageNet is.
So a label is taken for the net's class of that number where the user says so (`--class-names net`,
or a file that names as many classes as the net has), or where the dataset itself does: by WordNet
ids before a net of ImageNet's thousand classes, or by a class name that is the net's own. Any other
is shown as the dataset has it, by its own name or as "class 3".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.data.wordnet.hierarchy import imagenet_wnids, synsets

_MOST_DIGITS = 10
_ALIKE = 0.9
"""Of the categories of a net of ImageNet's classes, those that torchvision calls so too."""


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Index → name of the classes, and where known WordNet id → index.

    Args:
        names: index → name; need not be contiguous.
        wnids: WordNet id → index, for folders that are named so; may be empty.
        explicit: the user says that these are the classes of the labels, so the names win over
            what the dataset says; else they are the net's, and count where the dataset agrees.
    """

    names: Mapping[int, str]
    wnids: Mapping[str, int] = field(default_factory=dict)
    explicit: bool = False

    @classmethod
    def of(cls, categories: Sequence[str], explicit: bool = False) -> "ClassNames":
        """The net's own categories, in the order of its outputs."""
        return cls(dict(enumerate(categories)), _wnids_of(categories), explicit)

    def __len__(self) -> int:
        return len(self.names)

    def index(self, text: str) -> int | None:
        """The class that a folder or a label means by `text`: its id, name or number."""
        if text in self.wnids:
            return self.wnids[text]
        named = [index for index, name in self.names.items() if name == text] or [
            index for index, name in self.names.items() if is_same(name, text)
        ]
        if len(named) == 1:  # ImageNet has two cranes
            return named[0]
        if text.isdecimal() and len(text) < _MOST_DIGITS and int(text) in self.names:
            return int(text)
        return None

    def means(self, label: int, class_name: str | None) -> bool:
        """Whether a sample's label is the class of that number."""
        own = self.names.get(label)
        return self.explicit or (own is not None and is_same(own, class_name or ""))


def is_same(name: str, other: str) -> bool:
    """Whether two names mean one class: of synonyms (``tench, Tinca tinca``) the first counts."""
    return _plain(name) == _plain(other)


def _plain(name: str) -> str:
    first = name.partition(",")[0]
    return " ".join(re.sub("[_-]", " ", first).lower().split()) or name


def called(label: int | None, class_name: str | None) -> str | None:
    """What a class is called where it is shown: ``class 3`` where only its number is known."""
    return f"class {label}" if class_name is None and label is not None else class_name


def class_synset(label: int | None, class_name: str | None) -> str | None:
    """The WordNet id of a class of ImageNet; None of any other.

    Args:
        label: its number; alone it says nothing.
        class_name: its WordNet id, or the name of ImageNet's class of that number.
    """
    wnids = imagenet_wnids()
    if class_name in synsets():
        return class_name
    if label is None or class_name is None or not 0 <= label < len(wnids):
        return None
    return wnids[label] if is_same(synsets()[wnids[label]].name, class_name) else None


def _wnids_of(categories: Sequence[str]) -> dict[str, int]:
    """WordNet id → index, where the categories are ImageNet's, however they are spelt."""
    wnids = imagenet_wnids()
    if len(categories) != len(wnids):
        return {}
    pairs = zip(categories, wnids, strict=True)
    same = sum(is_same(name, synsets()[wnid].name) for name, wnid in pairs)
    return {wnid: at for at, wnid in enumerate(wnids)} if same >= _ALIKE * len(wnids) else {}


def described(
    names: ClassNames | None, label: int | None, class_name: str | None
) -> tuple[int | None, str | None]:
    """Label and class name of a sample, from what its format says and from `names`."""
    if names is None:
        return label, class_name
    if not names.explicit:
        by_id = names.wnids.get(class_name or "")
        if by_id is not None and label in (None, by_id):
            return by_id, names.names[by_id]
        return label, class_name
    if label is None and class_name is not None:
        label = names.index(class_name)
    known = None if label is None else names.names.get(label)
    return label, known or class_name


def folder_classes(
    folders: Sequence[str], names: ClassNames | None
) -> dict[str, tuple[int | None, str]]:
    """Label and class name of each class folder.

    A folder's label is its place among the sorted folders, as torchvision has it, and its name the
    folder's, unless `names` knows better.

    What the user gave decides for all folders if it knows any (by WordNet id, name or number);
    where it knows none, its names go by place if there are as many as folders.

    Of the net's own names every folder must be one, or its WordNet id: then the label is the net's.
    Where every folder is a number, and each the number of a class of the net, it is the label, also
    if only some of the classes are there, but its name stays: digits 0 to 9 are no fishes. With a
    number beyond the classes (1 to 1000 of a thousand) the place holds.
    """
    ordered = sorted(folders)
    own: dict[str, tuple[int | None, str]] = {f: (place, f) for place, f in enumerate(ordered)}
    if names is None:
        return own
    indices = {folder: names.index(folder) for folder in ordered}
    known = {folder: index for folder, index in indices.items() if index is not None}
    numbers = _numbers(ordered)
    if not names.explicit:
        if len(set(known.values())) < len(own):  # some are unknown, or two are the same
            return own
        if numbers:
            return {folder: (number, folder) for folder, number in numbers.items()}
        return {f: (at, names.names[at] if f in names.wnids else f) for f, at in known.items()}
    if known:
        return {folder: (at, folder if at is None else names.names[at])
                for folder, at in indices.items()}  # fmt: skip
    if numbers or set(names.names) != set(range(len(own))):
        return own
    return {folder: (place, names.names[place]) for place, folder in enumerate(ordered)}


def _numbers(folders: Sequence[str]) -> dict[str, int]:
    """The number of each folder, where every one is a number and no two (1, 01) are the same."""
    if not all(folder.isdecimal() and len(folder) < _MOST_DIGITS for folder in folders):
        return {}
    numbers = {folder: int(folder) for folder in folders}
    return numbers if len(set(numbers.values())) == len(numbers) else {}
