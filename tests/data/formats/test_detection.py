"""What a folder with files of several kinds is taken for."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.formats.dataset import open_dataset
from pipeline.errors import RequestError
from tests.data.formats.test_dataset import as_tars, read

Put = Callable[[str, dict[str, bytes]], str]


def about(count: int) -> bytes:
    """What img2dataset's Parquet says of its pictures; they are not in it."""
    stream = io.BytesIO()
    columns = {
        "url": ["http://x/y.jpg"] * count,
        "caption": ["a dog"] * count,
        "width": [9] * count,
    }
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def test_tars_of_img2dataset(
    tmp_path: Path, put: Put, pictures: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    tars = as_tars(pictures)
    beside = {name.replace(".tar", ".parquet"): about(10) for name in tars}
    stats = {name.replace(".tar", "_stats.json"): b"{}" for name in tars}
    caplog.set_level(logging.INFO)
    dataset = open_dataset(put(str(tmp_path), tars | beside | stats))
    assert dataset.format == "webdataset"
    assert [sample.data for sample in read(dataset)] == pictures
    assert "3 Parquet files beside tars of the same names are passed over" in caplog.text


def test_other_parquet_beside_tars(tmp_path: Path, put: Put, pictures: list[bytes]) -> None:
    put(str(tmp_path), as_tars(pictures) | {"pictures.parquet": about(1)})
    with pytest.raises(RequestError, match="--format webdataset or parquet"):
        open_dataset(str(tmp_path))
