"""Names of classes: from a file that the user gives, or from the weights' own categories."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.data.store import Store
from pipeline.errors import RequestError

_WNID = re.compile(r"(n\d{8})(?:\s+(.+))?")  # WordNet's names of ImageNet's classes
_NUMBERED = re.compile(r"\d{1,9}\s*([,;\t])")  # the start of a table's row
_COLUMNS = 2
_HEADINGS = (
    "index",
    "idx",
    "id",
    "name",
    "label",
    "class",
    "class_name",
    "class_id",
    "class_index",
)
_MOST_DIGITS = 10
_REMEDY = (
    "give a text file with one name per line, a table of two columns (number, name), a JSON list "
    "of names, a JSON object index → name or name → index, or Keras' imagenet_class_index.json"
)


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Index → name of the classes, and where known WordNet id → index.

    Args:
        names: index → name; need not be contiguous.
        wnids: WordNet id → index, for folders that are named so; may be empty.
        explicit: given by the user, so it wins over what the dataset says; else (the weights'
            categories) the dataset's own names win.
    """

    names: Mapping[int, str]
    wnids: Mapping[str, int] = field(default_factory=dict)
    explicit: bool = False

    @classmethod
    def of(cls, categories: Sequence[str]) -> "ClassNames":
        """The weights' own categories, in the order of the net's outputs."""
        return cls(dict(enumerate(categories)))

    def __len__(self) -> int:
        return len(self.names)

    def index(self, text: str) -> int | None:
        """The class that a folder or a label means by `text`: its id, name or number."""
        if text in self.wnids:
            return self.wnids[text]
        named = [index for index, name in self.names.items() if name == text]
        if len(named) == 1:  # ImageNet has two cranes
            return named[0]
        if text.isdecimal() and len(text) < _MOST_DIGITS and int(text) in self.names:
            return int(text)
        return None


def described(
    names: ClassNames | None, label: int | None, class_name: str | None
) -> tuple[int | None, str | None]:
    """Label and class name of a sample, from what its format says and from `names`."""
    if names is None:
        return label, class_name
    if names.explicit and label is None and class_name is not None:
        label = names.index(class_name)
    known = None if label is None else names.names.get(label)
    if names.explicit:
        return label, known or class_name
    return label, known if class_name is None else class_name


def folder_classes(
    folders: Sequence[str], names: ClassNames | None
) -> dict[str, tuple[int | None, str]]:
    """Label and class name of each class folder.

    A folder's label is its place among the sorted folders and its name the folder's, unless
    `names` knows better: an explicit file that knows any folder (by WordNet id, name or number)
    decides for all of them, and where it knows none, or for the weights' categories, the names
    go by place if there are as many as folders.

    Where every folder is a number, and each the number of a class in `names`, it is the label,
    also if only some of the classes are there. The name is then the folder's own, unless all are
    there: digits 0 to 9 before a net of ImageNet are no fishes. With a number beyond the classes
    (1 to 1000 of a thousand), or with no classes known, nothing says that the numbers are the
    net's, and the place among the sorted folders holds, as torchvision has it.
    """
    ordered = sorted(folders)
    own: dict[str, tuple[int | None, str]] = {f: (place, f) for place, f in enumerate(ordered)}
    if names is None:
        return own
    if names.explicit:
        indices = {folder: names.index(folder) for folder in ordered}
        if any(index is not None for index in indices.values()):
            return {
                folder: (None, folder) if index is None else (index, names.names[index])
                for folder, index in indices.items()
            }
    numbers = _numbers(ordered)
    if numbers and all(number in names.names for number in numbers.values()):
        whole = len(own) == len(names)
        return {
            folder: (number, names.names[number] if whole else folder)
            for folder, number in numbers.items()
        }
    if (
        numbers
        or len(own) != len(names)
        or any(place not in names.names for place in range(len(own)))
    ):
        return own
    return {folder: (place, names.names[place]) for place, folder in enumerate(ordered)}


def _numbers(folders: Sequence[str]) -> dict[str, int]:
    """The number of each folder, where every one is a number and no two (1, 01) are the same."""
    if not all(folder.isdecimal() and len(folder) < _MOST_DIGITS for folder in folders):
        return {}
    numbers = {folder: int(folder) for folder in folders}
    return numbers if len(set(numbers.values())) == len(numbers) else {}


def load_class_names(url: str) -> ClassNames:
    """The names in a file (any fsspec URL), explicit.

    Raises:
        RequestError: the file cannot be read, or is none of the known forms.
    """
    try:
        text = Store(url).read("").decode("utf-8-sig")
    except RequestError:
        raise
    except Exception as error:  # every file system has errors of its own
        raise RequestError(f"Class names: {url} cannot be read ({error}); {_REMEDY}.") from error
    try:
        is_json = url.endswith(".json") or text.lstrip()[:1] in ("[", "{")
        entries = _entries(json.loads(text) if is_json else _lines(text))
    except (ValueError, RecursionError, csv.Error) as error:
        raise RequestError(f"Class names: {url}: {error}; {_REMEDY}.") from error
    return ClassNames(
        names={index: name for index, name, _ in entries},
        wnids={wnid: index for index, _, wnid in entries if wnid is not None},
        explicit=True,
    )


def _lines(text: str) -> object:
    """A name per line; a table of numbers and names; or, in every line, WordNet id and name."""
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not all(lines) or not lines:
        raise ValueError("it has an empty line" if lines else "it is empty")
    synsets = [match for line in lines if (match := _WNID.fullmatch(line))]
    if len(synsets) == len(lines):  # "n01440764 tench, Tinca tinca"
        return [[match[1], match[2] or match[1]] for match in synsets]
    numbered = [match for line in lines if (match := _NUMBERED.match(line))]
    headed = len(numbered) == len(lines) - 1 and not _NUMBERED.match(lines[0])
    if numbered and (len(numbered) == len(lines) or headed):
        return _table(lines[headed:], numbered[0][1])
    if re.split(r"\W", lines[0].lower())[0] in _HEADINGS:
        raise ValueError(f"its first line, {lines[0]!r}, looks like the heading of a table")
    return lines


def _table(lines: Sequence[str], separator: str) -> dict[int, str]:
    """Number → name, from rows of two columns; a name in quotes may have the separator in it."""
    table: dict[int, str] = {}
    for row in csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True):
        if len(row) != _COLUMNS or not row[1].strip():
            raise ValueError(f"its row {separator.join(row)!r} is not a number and a name")
        if int(row[0]) in table:
            raise ValueError(f"it has number {int(row[0])} twice")
        table[int(row[0])] = row[1].strip()
    return table


def _entries(values: object) -> list[tuple[int, str, str | None]]:
    """Index, name and WordNet id of each class."""
    by_index = dict(enumerate(values)) if isinstance(values, list) else values
    if not isinstance(by_index, dict) or not by_index:
        raise ValueError("it holds no names")
    if all(type(value) is int for value in by_index.values()):
        by_index = _turned(by_index)
    return sorted(_entry(int(index), value) for index, value in by_index.items())


def _turned(class_to_idx: Mapping[Any, int]) -> dict[int, object]:
    """Index → name (and WordNet id), from torchvision's ``class_to_idx``: name → index."""
    turned: dict[int, object] = {}
    for name, index in class_to_idx.items():
        if not isinstance(name, str):
            raise ValueError(f"class {name} is {index!r}, not a name")
        if index in turned or index < 0:
            why = "below 0" if index < 0 else "that another has"
            raise ValueError(f"it gives {name!r} the number {index}, {why}")
        turned[index] = [name, name] if _WNID.fullmatch(name) else name
    return turned


def _entry(index: int, value: object) -> tuple[int, str, str | None]:
    match value:
        case str():
            return index, value, None
        case [str(wnid), str(name)]:
            return index, name, wnid
    raise ValueError(f"class {index} is {value!r}, not a name")
