import pickle
import resource
import time
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.store import Store, version_of
from pipeline.data.store.parquet import encoded
from pipeline.errors import RequestError, WriteError


def test_what_is_written_is_read_and_listed(place: str) -> None:
    store = Store(place)
    store.write("heaps/b.bin", b"0123456789")
    store.write("heaps/a.bin", b"")
    store.write("c", b"x")
    assert store.read("heaps/b.bin") == b"0123456789"
    assert list(store.list().items()) == [("c", 1), ("heaps/a.bin", 0), ("heaps/b.bin", 10)]
    assert list(store.list("heaps")) == ["heaps/a.bin", "heaps/b.bin"]
    assert store.list("elsewhere") == {}
    assert Store(f"{place}/heaps").read("b.bin") == b"0123456789"


def test_writing_again_replaces(place: str) -> None:
    store = Store(place)
    store.write("a", b"first")
    store.write("a", b"2nd")
    assert store.read("a") == b"2nd"
    assert store.list() == {"a": 3}


def test_presence(place: str) -> None:
    store = Store(place)
    assert not store.exists()
    assert not store.exists("a")
    store.write("a", b"x")
    assert store.exists("a")
    assert store.exists()
    with pytest.raises(FileNotFoundError):
        store.read("b")


def test_a_writer_elsewhere_is_seen(place: str) -> None:
    reader, writer = Store(place), Store(place)
    assert reader.list() == {}
    writer.write("a", b"x")
    assert reader.list() == {"a": 1}
    assert reader.exists("a")


def test_it_travels_between_processes(place: str) -> None:
    store = Store(place)
    store.write("a", b"x")
    again = pickle.loads(pickle.dumps(store))
    assert again.url == store.url
    assert again.read("a") == b"x"


def test_tables(place: str) -> None:
    store = Store(place)
    table = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
    store.write_table("t.parquet", table)
    assert store.read_table("t.parquet") == table
    assert store.read_table("t.parquet", ["b"]) == table.select(["b"])


def test_only_texts_have_dictionaries_and_no_list_has_statistics() -> None:
    """Of lists nobody asks for a smallest entry; and numbers of many kinds only cost time."""
    entries = pa.list_(pa.struct([("key", pa.string()), ("number", pa.int64())]))
    table = pa.table({"layer": ["a"], "list": pa.array([[("k", 1)]], entries), "png": [b"p"]})
    group = pq.ParquetFile(pa.BufferReader(encoded(table))).metadata.row_group(0)
    columns = map(group.column, range(group.num_columns))
    assert {
        column.path_in_schema: ("RLE_DICTIONARY" in column.encodings, column.is_stats_set)
        for column in columns
    } == {
        "layer": (True, True),
        "list.list.element.key": (True, False),
        "list.list.element.number": (False, False),
        "png": (False, False),
    }


def test_a_table_of_a_disk_is_read_without_python(tmp_path: Path) -> None:
    """Else threads of pyarrow's may hold pieces of it when Python ends: 1 in 20 aborted then."""
    store = Store(str(tmp_path))
    store.write_table("table.parquet", pa.table({"a": [1]}))
    with store.open("table.parquet", block=0) as stream:
        assert isinstance(stream, pa.OSFile)
    with pytest.raises(FileNotFoundError):
        store.open("none.parquet", block=0)


def test_what_tells_that_a_file_is_another(place: str) -> None:
    store = Store(f"{place}/file")
    with pytest.raises(FileNotFoundError):
        version_of(store)
    versions = []
    for content in (b"one", b"two", b"more"):
        Store(place).write("file", content)
        versions.append(version_of(store))
        assert version_of(store) == versions[-1]
        time.sleep(0.02)  # a disk's clock ticks in milliseconds
    assert len(set(versions)) == 3
    assert [version.size for version in versions] == [3, 3, 4]


def test_servers_of_one_address_may_call_one_file_differently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store("https://example.org/train.tar")
    tags = iter("ab")
    monkeypatch.setattr(store.fs, "info", lambda _: {"size": 3, "ETag": next(tags)})
    assert version_of(store) == version_of(store)


def test_open_seeks(place: str) -> None:
    store = Store(place)
    store.write("a", b"0123456789")
    with store.open("a") as stream:
        stream.seek(4)
        assert stream.read(3) == b"456"


def test_local_paths_of_every_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store("folder").write("a", b"x")
    for spelling in ("folder", "./folder/", tmp_path / "folder", f"file://{tmp_path}/folder"):
        store = Store(spelling)
        assert store.is_local
        assert store.list() == {"a": 1}


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    store = Store(tmp_path)
    store.write("taken/a", b"x")
    with pytest.raises(WriteError, match="could not be written"):
        store.write("file/a", b"x")  # a folder is needed where a file is
    with pytest.raises(WriteError, match="could not be written"):
        store.write("taken", b"x")  # a file is needed where a folder is
    assert store.list() == {"file": 10, "taken/a": 1}
    assert not list(tmp_path.glob(".*"))


def test_half_written_files_are_no_results(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("a", b"x")
    (tmp_path / ".a.0123").write_bytes(b"half")
    assert store.list() == {"a": 1}


def test_a_lost_bucket_is_a_write_error(s3: str) -> None:
    with pytest.raises(WriteError, match="no-such-bucket"):
        Store("s3://no-such-bucket-here/run").write("a", b"x")


@pytest.mark.parametrize("url", ["nonsense://x", "gibberish://a/b"])
def test_an_unknown_scheme_is_a_wrong_request(url: str) -> None:
    with pytest.raises(RequestError, match=url):
        Store(url)


def test_a_scheme_whose_package_lacks_is_a_wrong_request() -> None:
    fsspec.register_implementation("lacking", "no_such_package.FileSystem", clobber=True)
    with pytest.raises(RequestError, match="not installed"):
        Store("lacking://container/run")


def test_a_disk_without_room_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the disk's part is played by a quota
    try:
        with pytest.raises(WriteError, match="Make room"):
            store.write("a", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_room_behind_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    Store(tmp_path / "link" / "run").require_room("--run")
    for name in ("a", "gone"):
        with pytest.raises(RequestError, match="leads nowhere, no folder; name another --run"):
            Store(tmp_path / name / "run").require_room("--run")
