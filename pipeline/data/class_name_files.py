"""The names of classes that a user asks for: those in a file, or the net's own."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.nets.known import Net
from pipeline.data.class_names import ClassNames
from pipeline.data.store import Store
from pipeline.errors import RequestError, shown

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
_REMEDY = (
    "give a text file with one name per line, a table of two columns (number, name), a JSON list "
    "of names, a JSON object index → name or name → index, or Keras' imagenet_class_index.json"
)


NET, NONE = "net", "none"
"""What `--class-names` can be apart from a file."""


def names_for_labels(asked: str | None, net: Net) -> ClassNames | None:
    """The names that a dataset's labels may have.

    Args:
        asked: ``net``, where the labels are the net's classes; ``none``, where no name is to be
            added to the dataset's own; or a file that names them. None takes the net's own names
            where the dataset agrees.
        net: the net.

    Raises:
        RequestError: the file cannot be read, or the net has no classes.
    """
    if asked == NONE:
        return None
    if asked == NET and not net.classes:
        raise RequestError(
            f"{net.name} tells no classes apart, so --class-names net has no meaning; give a file "
            "of names, or leave it out."
        )
    if asked in (None, NET):
        own = ClassNames.of(net.categories or (), explicit=asked == NET)
        return own if own.names or own.explicit else None
    return load_class_names(asked)


def names_of_outputs(asked: str | None, net: Net) -> ClassNames:
    """The names of the net's own classes; `explicit` where the labels are these.

    Args:
        asked: as for `names_for_labels`. A file names them if it has as many as the net.
        net: the net.

    Raises:
        RequestError: the file cannot be read.
    """
    own = ClassNames.of(net.categories or (), explicit=asked == NET)
    if asked in (None, NET, NONE):
        return own
    given = load_class_names(asked)
    return given if set(given.names) == set(range(net.classes)) else own


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
        raise ValueError(f"its first line, {shown(lines[0])!r}, looks like the heading of a table")
    return lines


def _table(lines: Sequence[str], separator: str) -> dict[int, str]:
    """Number → name, from rows of two columns; a name in quotes may have the separator in it."""
    table: dict[int, str] = {}
    for row in csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True):
        if len(row) != _COLUMNS or not row[1].strip():
            raise ValueError(f"its row {shown(separator.join(row))!r} is not a number and a name")
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
            raise ValueError(f"class {shown(str(name))} is {shown(repr(index))}, not a name")
        if index in turned or index < 0:
            why = "below 0" if index < 0 else "that another has"
            raise ValueError(f"it gives {shown(name)!r} the number {shown(str(index))}, {why}")
        turned[index] = [name, name] if _WNID.fullmatch(name) else name
    return turned


def _entry(index: int, value: object) -> tuple[int, str, str | None]:
    match value:
        case str():
            return index, value, None
        case [str(wnid), str(name)]:
            return index, name, wnid
    raise ValueError(f"class {index} is {shown(repr(value))}, not a name")
