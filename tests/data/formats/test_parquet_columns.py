"""Parquet whose columns are called otherwise, or whose pictures are elsewhere."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.samples import Asked, Sample
from pipeline.errors import IncompleteError, RequestError

PICTURES = [b"picture %d" % number for number in range(3)]
BINARY = pa.array(PICTURES, pa.binary())


def opened(folder: Path, columns: dict[str, Any], asked: Asked | None = None) -> Dataset:
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return open_dataset(str(folder), asked=asked or Asked())


def read(dataset: Dataset) -> list[Sample]:
    return [sample for part in dataset.parts() for sample in dataset.read(part)]


@pytest.mark.parametrize(
    "columns",
    [
        {"key": ["a", "b", "c"], "jpg": BINARY, "label": [0, 1, 2]},
        {"jpg": BINARY, "embedding": BINARY, "label": [0, 1, 2]},
        {"photo": pa.array([{"bytes": data} for data in PICTURES]), "label": [0, 1, 2]},
    ],
)
def test_the_only_column_that_can_hold_pictures(columns: dict[str, Any], tmp_path: Path) -> None:
    samples = read(opened(tmp_path, columns))
    assert [sample.data for sample in samples] == PICTURES
    assert [sample.label for sample in samples] == [0, 1, 2]


def test_columns_that_are_asked_for(tmp_path: Path) -> None:
    other = pa.array([data + b" small" for data in PICTURES])
    columns = {"image": other, "label": [9, 9, 9], "large": BINARY, "kind": ["a", "b", "c"]}
    asked = Asked(image_column="large", label_column="kind")
    dataset = opened(tmp_path, columns, asked)
    samples = read(dataset)
    assert [sample.data for sample in samples] == PICTURES
    assert [(sample.label, sample.class_name) for sample in samples] == [
        (None, "a"), (None, "b"), (None, "c")
    ]  # fmt: skip
    assert [data for _, data in dataset.fetch([samples[1].located])] == [PICTURES[1]]


def test_a_column_of_labels_in_the_path(tmp_path: Path) -> None:
    for name, data in zip(("ant", "bee"), PICTURES, strict=False):
        (tmp_path / f"kind={name}").mkdir()
        opened(tmp_path / f"kind={name}", {"image": [data], "label": [9]})
    dataset = open_dataset(str(tmp_path), asked=Asked(label_column="kind"))
    assert [(s.label, s.class_name) for s in read(dataset)] == [(None, "ant"), (None, "bee")]
    assert [sample.label for sample in read(open_dataset(str(tmp_path)))] == [9, 9]


@pytest.mark.parametrize("has_bytes", [True, False])
def test_pictures_that_are_files(has_bytes: bool, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    paths = ["near.jpg", str(tmp_path / "far" / "b.jpg"), (tmp_path / "far" / "c.jpg").as_uri()]
    for path, data in zip(("near.jpg", "far/b.jpg", "far/c.jpg"), PICTURES, strict=True):
        (tmp_path / path).write_bytes(data)
    rows = [{"path": path} | ({"bytes": None} if has_bytes else {}) for path in paths]
    fields = [("path", pa.string())] + ([("bytes", pa.binary())] if has_bytes else [])
    pq.write_table(pa.table({"image": pa.array(rows, pa.struct(fields))}), tmp_path / "a.parquet")
    dataset = open_dataset(str(tmp_path), format="parquet")
    samples = read(dataset)
    assert [sample.data for sample in samples] == PICTURES
    fetched = dataset.fetch([sample.located for sample in samples])
    assert [data for _, data in fetched] == PICTURES


@pytest.mark.parametrize("path", ["foo://x.jpg", "a\0b.jpg", "x" * 5000, "."])
def test_a_path_that_makes_no_sense(path: str, tmp_path: Path) -> None:
    (sample,) = read(opened(tmp_path, {"image": [{"path": path}]}))
    assert "the row has no picture, only the path" in (sample.problem or "")


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([BINARY, BINARY], names=["image", "image"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RequestError, match=r"a\.parquet: it has several columns called 'image'"):
        open_dataset(str(tmp_path))


def test_a_path_where_no_picture_is(tmp_path: Path) -> None:
    rows = [{"bytes": PICTURES[0], "path": "a.jpg"}, {"bytes": None, "path": "gone.jpg"}]
    dataset = opened(tmp_path, {"image": rows})
    first, gone = read(dataset)
    assert first.data == PICTURES[0]
    path = tmp_path / "gone.jpg"
    assert gone.problem == f"the row has no picture, only the path {path}: where there is none"
    with pytest.raises(IncompleteError, match="row 1 has no picture"):
        list(dataset.fetch([gone.located]))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"text": ["a"], "label": [1]}, "no column of pictures .* text .string., label .int64."),
        ({"image": ["path/to.jpg"]}, "column 'image' holds text .string., perhaps paths or URLs"),
        ({"image": [[1, 2, 3]]}, "column 'image' .list<.* holds no pictures"),
        ({"image": [[b"x"]]}, "column 'image' .list<.* holds no pictures"),
        ({"a": BINARY, "b": BINARY}, "in a or b; say which with --image-column"),
    ],
)
def test_no_column_of_pictures(columns: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=rf"a\.parquet: .*{sentence}"):
        opened(tmp_path, columns)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (Asked(image_column="picture"), "no column 'picture'; name one of image, text, boxes with"),
        (Asked(image_column="text"), "column 'text' holds text .string., perhaps paths"),
        (Asked(label_column="class"), "no column 'class'; .* with --label-column"),
        (Asked(label_column="boxes"), "column 'boxes' .list<.* holds no labels"),
    ],
)
def test_columns_that_are_not_there(asked: Asked, sentence: str, tmp_path: Path) -> None:
    columns = {"image": BINARY, "text": ["a", "b", "c"], "boxes": [[1], [2], [3]]}
    with pytest.raises(RequestError, match=sentence):
        opened(tmp_path, columns, asked)


def test_other_formats_have_no_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PICTURES[0])
    with pytest.raises(RequestError, match=r"pictures .* have no columns; leave out --image-col"):
        open_dataset(str(tmp_path), asked=Asked(image_column="x"))
