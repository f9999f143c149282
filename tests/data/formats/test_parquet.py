import io
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.class_names import ClassNames
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.formats.parquet import split
from pipeline.data.formats.parquet_file import ParquetFile
from pipeline.data.samples import Located, Sample
from pipeline.errors import IncompleteError, RequestError

PICTURES = [b"picture %d" % number * 50 for number in range(12)]


def parquet(columns: dict[str, Any], metadata: dict[str, Any] | None = None, **how: Any) -> bytes:
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    stream = io.BytesIO()
    pq.write_table(table, stream, **how)
    return stream.getvalue()


def opened(folder: Path, data: bytes, names: ClassNames | None = None) -> Dataset:
    (folder / "a.parquet").write_bytes(data)
    return open_dataset(str(folder), class_names=names)


def read(dataset: Dataset) -> list[Sample]:
    return [sample for part in dataset.parts() for sample in dataset.read(part)]


def labels(samples: list[Sample]) -> list[tuple[int | None, str | None]]:
    return [(sample.label, sample.class_name) for sample in samples]


def features(**columns: dict[str, Any]) -> dict[str, Any]:
    return {"info": {"features": columns}}


STRUCTS = [{"bytes": picture, "path": None} for picture in PICTURES]
COLUMNS = {
    "struct": pa.array(STRUCTS),
    "struct, path first": pa.array([{"path": "x.jpg", "bytes": picture} for picture in PICTURES]),
    "binary": pa.array(PICTURES, pa.binary()),
    "large binary": pa.array(PICTURES, pa.large_binary()),
    "dictionary encoded": pa.array(STRUCTS),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_pictures(kind: str, compression: str, tmp_path: Path) -> None:
    data = parquet({"image": COLUMNS[kind]}, row_group_size=5, compression=compression)
    samples = read(opened(tmp_path, data))
    assert [sample.data for sample in samples] == PICTURES
    assert [sample.key for sample in samples] == [str(row) for row in range(12)]
    assert {(sample.offset, sample.length, sample.label) for sample in samples} == {(None,) * 3}


@pytest.mark.parametrize("column", ["label", "labels"])
@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.uint8()])
def test_numbers_as_labels(column: str, kind: pa.DataType, tmp_path: Path) -> None:
    data = parquet({"image": STRUCTS[:3], column: pa.array([2, None, 0], kind)})
    assert labels(read(opened(tmp_path, data))) == [(2, None), (None, None), (0, None)]


def test_the_unknown_label_of_test_sets(tmp_path: Path) -> None:
    data = parquet({"image": STRUCTS[:1], "label": [-1]}, features(
        label={"_type": "ClassLabel", "names": ["ant", "bee"]}))  # fmt: skip
    assert labels(read(opened(tmp_path, data))) == [(None, None)]


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_names_as_labels(kind: pa.DataType, tmp_path: Path) -> None:
    data = parquet({"image": STRUCTS[:2], "label": pa.array(["bee", "ant"]).cast(kind)})
    assert labels(read(opened(tmp_path, data))) == [(None, "bee"), (None, "ant")]
    names = ClassNames({0: "ant", 1: "bee"}, explicit=True)
    assert labels(read(opened(tmp_path, data, names))) == [(1, "bee"), (0, "ant")]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2.0, None, 0.0, float("nan"), -1.0, float("inf")]),
        pa.array([2, None, 0, None, -1, None], pa.float16()),
        pa.array([Decimal("2.00"), None, Decimal(0), None, Decimal(-1), None]),
        pa.array([2.0, None, 0.0, None, None, None]).dictionary_encode(),
    ],
)
def test_whole_numbers_of_other_types(
    values: pa.Array, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = read(opened(tmp_path, parquet({"image": STRUCTS[:6], "label": values})))
    assert [sample.label for sample in samples] == [2, None, 0, None, None, None]
    assert not caplog.records


def test_truth_values_as_labels(tmp_path: Path) -> None:
    data = parquet({"image": STRUCTS[:3], "label": [True, False, None]})
    assert labels(read(opened(tmp_path, data))) == [(1, None), (0, None), (None, None)]


@pytest.mark.parametrize("kind", [pa.float32(), pa.decimal128(5, 2)])
def test_fractions_are_no_labels(
    kind: pa.DataType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = pa.array([0.5, 2, None]).cast(kind)
    samples = read(opened(tmp_path, parquet({"image": STRUCTS[:3], "label": values})))
    assert [sample.label for sample in samples] == [None, 2, None]
    assert "a.parquet: in column 'label' only whole numbers are labels" in caplog.text


def test_a_damaged_column_of_numbers_is_a_problem_of_its_rows(tmp_path: Path) -> None:
    data = bytearray(parquet({"label": [1.0] * 3, "image": STRUCTS[:3]}, compression="none"))
    data[4:24] = b"\xff" * 20  # the header of the first column's page
    samples = read(opened(tmp_path, bytes(data)))
    assert samples[-1].problem is not None


def test_a_column_that_holds_no_labels_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = parquet({"image": STRUCTS[:2], "label": [[1, 2], [3]]})
    assert labels(read(opened(tmp_path, data))) == [(None, None)] * 2
    assert "a.parquet: column 'label' (list<" in caplog.text
    assert "is not used" in caplog.text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["cat", "d/g 1"], [(None, "cat"), (None, "d/g 1")]),
        (["10", "2"], [(10, None), (2, None)]),
        (["10", "-1"], [(10, None), (None, None)]),
    ],
)
def test_labels_in_the_path(
    values: list[str], expected: list[tuple[int | None, str | None]], tmp_path: Path
) -> None:
    table = pa.table({"image": STRUCTS[:2], "label": values})
    pq.write_to_dataset(table, tmp_path, partition_cols=["label"])
    assert sorted(labels(read(open_dataset(str(tmp_path)))), key=str) == sorted(expected, key=str)


def test_what_begins_with_an_underscore_is_no_data(tmp_path: Path) -> None:
    log = tmp_path / "_delta_log" / "1.checkpoint.parquet"
    log.parent.mkdir()
    log.write_bytes(parquet({"add": [1]}))
    (tmp_path / "_x.parquet").write_bytes(b"nonsense")
    assert len(read(opened(tmp_path, parquet({"image": STRUCTS})))) == 12
    assert len(read(open_dataset(str(tmp_path / "a.parquet")))) == 12


def test_names_of_the_hugging_face_hub(tmp_path: Path) -> None:
    facts = features(
        image={"_type": "Image"}, label={"_type": "ClassLabel", "names": ["ant", "bee"]}
    )
    data = parquet({"image": STRUCTS[:3], "label": [1, 0, 7]}, facts)
    own = [(1, "bee"), (0, "ant"), (7, None)]
    assert labels(read(opened(tmp_path, data))) == own
    net = ClassNames.of([f"the net's {number}" for number in range(10)])
    assert labels(read(opened(tmp_path, data, net))) == own
    explicit = ClassNames({1: "wasp"}, explicit=True)
    assert labels(read(opened(tmp_path, data, explicit))) == [(1, "wasp"), *own[1:]]


def test_columns_that_the_hub_calls_otherwise(tmp_path: Path) -> None:
    facts = features(
        id={"dtype": "int64", "_type": "Value"},
        img={"_type": "Image"},
        fine_label={"_type": "ClassLabel", "names": ["ant", "bee"]},
    )
    data = parquet({"id": [5, 6], "img": STRUCTS[:2], "fine_label": [1, 0]}, facts)
    samples = read(opened(tmp_path, data))
    assert [sample.data for sample in samples] == PICTURES[:2]
    assert labels(samples) == [(1, "bee"), (0, "ant")]


@pytest.mark.parametrize("facts", [[], {"info": None}, features(label={"names": 3}), {"info": {}}])
def test_odd_metadata(facts: Any, tmp_path: Path) -> None:
    data = parquet({"image": STRUCTS[:1], "label": [1]}, facts)
    assert labels(read(opened(tmp_path, data))) == [(1, None)]


@pytest.mark.parametrize("nothing", [None, {"bytes": None, "path": None}])
def test_rows_without_a_picture(nothing: Any, tmp_path: Path) -> None:
    rows = [STRUCTS[0], nothing, STRUCTS[2]]
    dataset = opened(tmp_path, parquet({"image": rows, "label": [0, 1, 2]}))
    samples = read(dataset)
    assert [sample.problem for sample in samples] == [None, "the row has no picture", None]
    assert [sample.label for sample in samples] == [0, 1, 2]
    assert samples[1].data == b""
    with pytest.raises(IncompleteError, match="row 1 has no picture"):
        list(dataset.fetch([samples[1].located]))


# --- parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([], [()]),
        ([100], [()]),
        ([50_000], [()]),
        ([4096, 4096], [()]),
        ([4096, 4097], [(0,), (1,)]),
        ([1000] * 10, [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]),
        ([9000, 1, 1], [(0,), (1, 2)]),
    ],
)
def test_a_file_of_many_rows_is_several_parts(
    rows: Sequence[int], parts: list[tuple[int, ...]]
) -> None:
    assert split(rows) == parts


def test_the_parts_of_a_file_are_the_file(tmp_path: Path) -> None:
    pictures = [b"%d" % number for number in range(9000)]
    dataset = opened(tmp_path, parquet({"image": pictures}, row_group_size=1000))
    assert [part.row_groups for part in dataset.parts()] == [(0, 1, 2, 3), (4, 5, 6, 7), (8,)]
    samples = read(dataset)
    assert [sample.data for sample in samples] == pictures
    assert [sample.key for sample in samples] == [str(row) for row in range(9000)]


def test_only_the_row_groups_that_are_needed_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(tmp_path, parquet({"image": PICTURES}, row_group_size=2))
    asked, rows = [], ParquetFile.rows

    def watched(self: ParquetFile, group: int) -> Iterator[tuple[bytes | None, object]]:
        asked.append(group)
        return rows(self, group)

    monkeypatch.setattr(ParquetFile, "rows", watched)
    shard = dataset.parts()[0].shard
    wanted = [Located(shard, key) for key in ("11", "2", "3")]
    assert dict(dataset.fetch(wanted)) == {
        located: PICTURES[int(located.key)] for located in wanted
    }
    assert asked == [1, 5]


# --- damaged ----------------------------------------------------------------------------------


def test_a_damaged_row_group_is_one_problem(tmp_path: Path) -> None:
    pictures = [np.random.default_rng(number).bytes(1000) for number in range(12)]
    data = bytearray(
        parquet({"image": pictures}, row_group_size=4, compression="none",
                use_dictionary=False, write_page_checksum=True)
    )  # fmt: skip
    at = data.index(pictures[5])
    data[at + 500] ^= 1  # one bit
    samples = read(opened(tmp_path, bytes(data)))
    assert [sample.data for sample in samples] == [*pictures[:4], b"", *pictures[8:]]
    assert [sample.key for sample in samples] == ["0", "1", "2", "3", "4", "8", "9", "10", "11"]
    assert "row group 1 from here on: damaged" in (samples[4].problem or "")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not Parquet" * 100])
def test_files_that_are_none_are_one_problem_each(data: bytes, tmp_path: Path) -> None:
    whole = parquet({"image": STRUCTS})
    (tmp_path / "0.parquet").write_bytes(data)
    (tmp_path / "1.parquet").write_bytes(whole)
    (tmp_path / "2.parquet").write_bytes(whole[:-20])
    samples = read(open_dataset(str(tmp_path)))
    assert [sample.data for sample in samples] == [b"", *PICTURES, b""]
    for sample in (samples[0], samples[-1]):
        assert sample.key == ""
        assert "damaged or no Parquet" in (sample.problem or "")


def test_a_later_file_with_other_columns_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "0.parquet").write_bytes(parquet({"image": STRUCTS}))
    (tmp_path / "1.parquet").write_bytes(parquet({"text": ["a"]}))
    samples = read(open_dataset(str(tmp_path)))
    assert len(samples) == 13
    problem = samples[-1].problem or ""
    assert "no column of pictures (binary, or a struct with bytes)" in problem
    assert "text (string)" in problem


@settings(max_examples=150, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
                      min_size=1, max_size=6))  # fmt: skip
def test_any_damage_ends_in_samples(edits: list[tuple[float, int]], tmp_path: Path) -> None:
    whole = parquet({"image": STRUCTS, "label": list(range(12))}, row_group_size=4)
    data = bytearray(whole)
    for at, new in edits:
        data[int(at * len(data))] = new
    (tmp_path / "0.parquet").write_bytes(whole)
    (tmp_path / "1.parquet").write_bytes(data)
    samples = read(open_dataset(str(tmp_path)))
    assert [sample.data for sample in samples[:12]] == PICTURES


# --- refused ----------------------------------------------------------------------------------


def test_no_file_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_bytes(b"")
    with pytest.raises(RequestError, match=r"a\.parquet: damaged or no Parquet .*no file can be"):
        opened(tmp_path, b"nonsense")


def test_fetching_from_a_file_that_has_become_shorter(tmp_path: Path) -> None:
    dataset = opened(tmp_path, parquet({"image": STRUCTS}))
    last = read(dataset)[-1].located
    (tmp_path / "a.parquet").write_bytes(parquet({"image": STRUCTS[:5]}))
    with pytest.raises(IncompleteError, match="row 11 has no picture"):
        list(dataset.fetch([last]))


@pytest.mark.parametrize("struct", [False, True])
def test_rows_that_unpack_without_end_are_refused_unread(tmp_path: Path, struct: bool) -> None:
    """A few kilobytes of file, of which the first row group can be used."""
    good, endless = PICTURES[:2], [bytes(300 << 20)]
    pictures = [
        [{"bytes": data} for data in group] if struct else group for group in (good, endless)
    ]
    kind = pa.struct([("bytes", pa.binary())]) if struct else pa.binary()
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, pa.schema([("image", kind)]), compression="zstd") as writer:
        for group in pictures:
            writer.write_table(pa.table({"image": pa.array(group, kind)}))
    del endless, pictures, group
    assert len(stream.getvalue()) < 100_000
    before = pa.total_allocated_bytes()
    samples = read(opened(tmp_path, stream.getvalue()))
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert [sample.data for sample in samples[:2]] == good
    assert [sample.problem for sample in samples[:2]] == [None, None]
    (damage,) = samples[2:]
    assert damage.problem is not None
    assert "bytes of pictures that unpack to 3145" in damage.problem
