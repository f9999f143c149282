"""Parquet files: samples, or a reason, or one sentence."""

import io
import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.formats.dataset import open_dataset
from pipeline.errors import RequestError
from tests.fuzz.mutation import Outcome, mutated, require, require_sentence

_LABELS: tuple[list[Any], ...] = (
    [0, 1, None, 3, 4, 5],
    [0.0, 1.0, float("nan"), 2.5, 3.0, 1e300],
    ["cat", "dog", None, "", "3", "é"],
    [True, False, None, True, True, False],
    [Decimal("1.00"), Decimal("2.50"), None, Decimal(3), Decimal(4), Decimal(5)],
    [[1], [2], [], None, [3], [4]],
)
_COMPRESSIONS = ("none", "snappy", "gzip", "zstd", "lz4")


class ParquetFiles:
    """Files of six rows: structs and bytes, labels of all types, several row groups."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "0.parquet"
        dice = random.Random("parquet")
        self._corpus = [_file(dice) for _ in range(150)]

    def try_one(self, dice: random.Random) -> Outcome:
        """One mutated file, by half near its end, where the footer is."""
        data = dice.choice(self._corpus)
        if dice.random() < 0.5:
            length = int.from_bytes(data[-8:-4], "little") + 8
            body, footer = data[:-length], mutated(data[-length:-8], dice)
            data = body + footer + len(footer).to_bytes(4, "little") + b"PAR1"
        else:
            data = mutated(data, dice, self._corpus)
        self._file.write_bytes(data)
        try:
            dataset = open_dataset(str(self._file))
            samples = [sample for part in dataset.parts() for sample in _read(dataset, part)]
        except RequestError as error:
            require_sentence(str(error), str(self._file))
            return Outcome.REFUSED
        for sample in samples:
            if sample.problem is not None:
                require_sentence(sample.problem)
            require(isinstance(sample.data, bytes), "a picture that is no bytes")
        if any(sample.problem for sample in samples):
            return Outcome.SKIPPED
        return Outcome.USABLE


def _read(dataset: Any, part: Any) -> list[Any]:
    """No end of rows may come of a damaged file."""
    samples = []
    for sample in dataset.read(part):
        samples.append(sample)
        require(len(samples) < 100_000, "rows without an end")
    return samples


def _file(dice: random.Random) -> bytes:
    pictures = [dice.randbytes(dice.randint(1, 300)) for _ in range(6)]
    image: Any = pa.array(pictures, dice.choice((pa.binary(), pa.large_binary())))
    if dice.random() < 0.5:
        rows = [
            {"bytes": data if dice.random() < 0.9 else None, "path": f"{at}.jpg"}
            for at, data in enumerate(pictures)
        ]
        image = pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    labels = pa.array(dice.choice(_LABELS))
    if pa.types.is_string(labels.type) and dice.random() < 0.5:
        labels = labels.dictionary_encode()
    table = pa.table({dice.choice(("image", "jpg", "x")): image, "label": labels})
    if dice.random() < 0.3:
        features = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}
        facts = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": facts})
    stream = io.BytesIO()
    pq.write_table(
        table, stream, compression=dice.choice(_COMPRESSIONS), row_group_size=dice.choice((2, 6)),
        write_page_checksum=dice.random() < 0.5, data_page_version=dice.choice(("1.0", "2.0")),
        use_dictionary=dice.random() < 0.5,
    )  # fmt: skip
    return stream.getvalue()
