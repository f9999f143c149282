"""Where the parts of objects are in pictures: a file of boxes."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.data.store import Options, Store
from pipeline.errors import RequestError

Box = tuple[float, float, float, float]
"""Top, left, bottom, right in pixels of the original picture."""

WHOLE = "object"
"""What the whole object is called among the parts; random parts are looked for in it."""

RANDOM = "random"
"""What parts at random places are called."""

COLUMNS = ("image", "part", "top", "left", "bottom", "right")

_PARQUET = b"PAR1"
_GROWN = 0.25


@dataclass(frozen=True)
class Parted:
    """A picture with known parts.

    Attributes:
        image: as it was named.
        parts: name → box, `WHOLE` among them only if the file has it.
    """

    image: str
    parts: Mapping[str, Box]

    @property
    def whole(self) -> Box:
        """Around the object: as it was given, or a quarter wider than its parts on each side."""
        if WHOLE in self.parts:
            return self.parts[WHOLE]
        boxes = np.array(list(self.parts.values()))
        (top, left), (bottom, right) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        high, wide = _GROWN * (bottom - top), _GROWN * (right - left)
        return top - high, left - wide, bottom + high, right + wide


def read_object_parts(url: str, options: Options | None = None) -> list[Parted]:
    """The pictures of a file and their parts, in the order of the file.

    Args:
        url: CSV or Parquet with the `COLUMNS`, a row for each part: any fsspec URL or local path.
        options: of its file system.

    Raises:
        RequestError: it is not there, or is no such file.
    """
    store = Store(url, options)
    with store.reaching():
        data = store.read("")
    try:
        stream = io.BytesIO(data)
        table = pq.read_table(stream) if data[:4] == _PARQUET else pyarrow.csv.read_csv(stream)
        return list(_parted(table.select(COLUMNS).to_pylist()))
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f"{url} is no file of parts ({error}); give CSV or Parquet with the columns "
            f"{', '.join(COLUMNS)}: boxes in pixels of the original pictures, a row for each part."
        ) from error


def _parted(rows: list[dict[str, Any]]) -> Iterator[Parted]:
    found: dict[str, dict[str, Box]] = {}
    for number, row in enumerate(rows, 1):
        top, left, bottom, right = (float(row[side]) for side in COLUMNS[2:])
        if not (top < bottom and left < right):
            raise ValueError(f"the box of row {number} has no pixels")
        parts = found.setdefault(str(row["image"]), {})
        if str(row["part"]) in parts:
            raise ValueError(f"row {number} tells {row['part']} of {row['image']} once more")
        parts[str(row["part"])] = top, left, bottom, right
    for image, parts in found.items():
        yield Parted(image, parts)


def as_csv(pictures: list[Parted]) -> bytes:
    """The file of some pictures' parts."""
    rows = [
        {"image": each.image, "part": name, **dict(zip(COLUMNS[2:], map(round, box), strict=True))}
        for each in pictures
        for name, box in each.parts.items()
    ]
    sink = io.BytesIO()
    pyarrow.csv.write_csv(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()
