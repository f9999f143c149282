"""Labels in a file of their own: one a line, or by the pictures' names or positions."""

import csv
import hashlib
import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.class_names import ClassNames, described
from pipeline.data.samples import Sample, checked_label
from pipeline.data.store import Options, Store
from pipeline.data.wordnet.hierarchy import imagenet_wnids
from pipeline.errors import RequestError, shown

log = logging.getLogger(__name__)

_OF_LABELS = {"label", "labels", "class", "class_name", "class_id", "class_index", "target"}
_OF_NAMES = {"name", "file", "filename", "file_name", "path", "image", "key", "id", "image_id"}
_OF_NAMES |= {"picture", "position", "index", "sample", "imageid"}
_PARQUET = b"PAR1"
_WHOLE = re.compile(r"(-?\d+)\.0*")  # as pandas writes numbers where one is missing
_POSITION = re.compile(r"[0-9]{1,9}")
_PAIR = 2
_DEVKIT = ("490", "361", "171", "822", "297", "482", "13", "704", "599", "164")
"""How ImageNet's ILSVRC2012_validation_ground_truth.txt begins."""

_ENOUGH = 3
"""Numbers of it by which it is known."""

_REMEDY = (
    "give one label per line, in the order of the pictures' sorted names, or two columns: name "
    "or position, and label, as CSV or Parquet"
)


@dataclass(frozen=True, slots=True)
class LabelFile:
    """What a file of labels says.

    Attributes:
        url: the file; a local path made absolute.
        digest: SHA-256 of its content, in hex.
        names: of the pictures, or their positions; empty where the labels are in their order.
        labels: as they are written, in the order of the file.
    """

    url: str
    digest: str
    names: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a dataset's pictures; what the dataset itself says of them is not used.

    Attributes:
        url: the file that they are from.
        of_name: a picture's path, file name, or that without its extension → its label.
        names: of the classes.
    """

    url: str
    of_name: Mapping[str, str]
    names: ClassNames | None

    def put_on(self, samples: Iterator[Sample], part: str) -> Iterator[Sample]:
        """The samples of a part with these labels; how many have none goes to the log."""
        without = 0
        for sample in samples:
            written = next((self.of_name[n] for n in _forms(sample.key) if n in self.of_name), "")
            label, class_name = described(self.names, *checked_label(written))
            without += written == "" and sample.problem is None
            yield replace(sample, label=label, class_name=class_name)
        if without:
            log.warning("%s has no label for %d pictures of %s.", self.url, without, part)


def load_labels(url: str, options: Options | None = None) -> LabelFile:
    """The labels in a file: CSV, Parquet, or text.

    Args:
        url: any fsspec URL or local path.
        options: of its file system.

    Raises:
        RequestError: the file cannot be read, or is none of these.
    """
    store = Store(url, options)
    url = store.path() if store.is_local else store.url
    try:
        data = store.read("")
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(f"There is no file of labels {url}; check the path.") from error
    except Exception as error:  # every file system has errors of its own
        raise RequestError(f"Labels: {url} cannot be read ({store.reason(error)}).") from error
    try:
        rows = _rows_of_parquet(data) if data.startswith(_PARQUET) else _rows(data)
        names, labels = _columns(rows)
        if (
            not names
            and len(labels) >= _ENOUGH
            and labels[: len(_DEVKIT)] == _DEVKIT[: len(labels)]
        ):
            names, labels = _of_devkit(labels)
    except (ValueError, csv.Error, pa.ArrowException, OSError) as error:  # some damage is one
        raise RequestError(f"Labels: {url}: {error}; {_REMEDY}.") from error
    digest = hashlib.sha256(data).hexdigest()
    return LabelFile(url, digest, names, labels)


def _of_devkit(numbers: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and WordNet ids of ImageNet's validation pictures, of the devkit's text file.

    Its numbers, 1 to 1000, are those of the devkit; nets count the classes from 0, in the order
    of their WordNet ids.
    """
    wnids = imagenet_wnids()
    wrong = next((n for n in numbers if not (_POSITION.fullmatch(n) and 1 <= int(n) <= 1000)), None)
    if wrong is not None:
        raise ValueError(
            f"it begins as the devkit's, whose numbers are 1 to 1000, not {shown(wrong)}"
        )
    order = Path(__file__).with_name("ilsvrc2012.txt").read_text().split()
    names = (f"ILSVRC2012_val_{number:08}" for number in range(1, len(numbers) + 1))
    return tuple(names), tuple(wnids[int(order[int(number) - 1])] for number in numbers)


# --- reading the file -------------------------------------------------------------------------


def _rows(data: bytes) -> list[list[str]]:
    lines = data.decode("utf-8-sig").rstrip().splitlines()
    if not lines:
        raise ValueError("it is empty")
    separator = next((sign for sign in "\t,;" if all(sign in line for line in lines)), None)
    if separator is not None:
        return list(csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True))
    pairs = [line.rsplit(maxsplit=1) for line in lines]
    if all(len(pair) == _PAIR and Path(pair[0]).suffix for pair in pairs):  # "a/b.jpg 65"
        return pairs
    return [[line] for line in lines]


def _rows_of_parquet(data: bytes) -> list[list[str]]:
    table = pq.read_table(io.BytesIO(data))
    columns = [["" if v is None else _text(v) for v in column.to_pylist()] for column in table]
    return [table.column_names, *map(list, zip(*columns, strict=True))]


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _columns(rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names (none, where there is but one column) and labels, whichever columns they are."""
    width = len(rows[0])
    heading = [cell.strip().lower() for cell in rows[0]]
    labelled = [at for at, cell in enumerate(heading) if cell in _OF_LABELS]
    named = [at for at, cell in enumerate(heading) if cell in _OF_NAMES and width > 1]
    if width > _PAIR and not (labelled and named):
        raise ValueError(f"it has {width} columns, and none that are called name and label")
    label_at = labelled[0] if labelled else 1 - named[0] if named else width - 1
    name_at = named[0] if named else 1 - label_at
    body = rows[bool(labelled or named) :]
    for number, row in enumerate(body, 1 + len(rows) - len(body)):
        if len(row) != width:
            raise ValueError(f"its row {number} has {len(row)} columns, and the first {width}")
    labels = tuple(_WHOLE.sub(r"\1", row[label_at].strip()) for row in body)
    if not any(labels):
        raise ValueError("it has no labels")
    names = tuple(row[name_at].strip() for row in body) if width > 1 else ()
    return names, labels


# --- which picture has which ------------------------------------------------------------------


def labels_of_files(file: LabelFile, keys: Sequence[str], names: ClassNames | None) -> Labels:
    """The labels of an image folder's pictures.

    Args:
        file: what was given.
        keys: the pictures' paths below the folder, in the order of the dataset.
        names: of the classes.

    Raises:
        RequestError: they are not the labels of these pictures.
    """
    if not file.names:
        if len(file.labels) != len(keys):
            raise RequestError(
                f"{file.url} has {len(file.labels)} labels, one per line, for {len(keys)} "
                "pictures; give those of these pictures, or the pictures' names beside the labels."
            )
        return Labels(file.url, dict(zip(keys, file.labels, strict=True)), names)
    forms = Counter(form for key in keys for form in _forms(key))
    if any(name in forms for name in file.names):
        found = _by_name(file, names)
        shared = next((name for name in found.of_name if forms[name] > 1), None)
        if shared is not None:
            raise RequestError(
                f"{file.url}: {shown(shared)} is the name of several pictures; give their paths."
            )
        return found
    if all(map(_POSITION.fullmatch, file.names)):
        return _by_position(file, keys, names)
    raise RequestError(
        f"{file.url} names none of the pictures: its first is {shown(file.names[0])}, theirs "
        f"{keys[0]}; give the labels of these pictures."
    )


def labels_of_members(file: LabelFile, names: ClassNames | None) -> Labels:
    """The labels of the pictures in tars, by their names.

    Raises:
        RequestError: the file has no names.
    """
    if not file.names:
        raise RequestError(
            f"{file.url} has labels in the order of the pictures, which a tar need not keep; give "
            "the pictures' names beside the labels, or unpack the tar."
        )
    return _by_name(file, names)


def _by_name(file: LabelFile, names: ClassNames | None) -> Labels:
    of_name: dict[str, str] = {}
    for name, label in zip(file.names, file.labels, strict=True):
        if of_name.setdefault(name, label) != label:
            raise RequestError(
                f"{file.url} gives {shown(name)} two labels, {shown(of_name[name])} and "
                f"{shown(label)}; leave one."
            )
    return Labels(file.url, of_name, names)


def _by_position(file: LabelFile, keys: Sequence[str], names: ClassNames | None) -> Labels:
    positions = list(map(int, file.names))
    if max(positions) >= len(keys):
        raise RequestError(
            f"{file.url} has a label for position {max(positions)}, but there are {len(keys)} "
            "pictures, counted from 0; give the labels of these pictures."
        )
    by_path = replace(file, names=tuple(keys[position] for position in positions))
    return _by_name(by_path, names)


def _forms(key: str) -> list[str]:
    """How a file of labels may call a picture: each once, the most exact first."""
    name = key.rpartition("/")[2]
    return list(dict.fromkeys((key, name, key.rpartition(".")[0], name.rpartition(".")[0])))
