"""Stores that fail: a disk once, and an S3 service over HTTP a fifth of the time."""

import errno
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from tenacity import wait_none

from jobs.soak.service import KINDS, Faults, Service, unreliable
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.formats.reading import Piece, read_files
from pipeline.data.store import Store
from pipeline.data.store.patience import Patience, ShortError
from pipeline.errors import StoreError, WriteError
from tests.data.formats.test_dataset import FORMATS

PUT, GET = ("PUT",), ("GET",)


@pytest.fixture(scope="module")
def proxy(s3_server: str) -> Iterator[Service]:
    with unreliable(s3_server) as service:
        yield service


@pytest.fixture
def service(proxy: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The service, which spoils nothing yet."""
    settings = {
        "AWS_ENDPOINT_URL": proxy.endpoint,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",  # of the client by itself
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pipeline.data.store.patience._PAUSES", wait_none())
    monkeypatch.setattr("jobs.soak.service._SLOW", 0.01)
    filesystem = fsspec.get_filesystem_class("s3")
    filesystem.clear_instance_cache()
    proxy.begin(None)
    yield proxy
    proxy.begin(None)
    filesystem.clear_instance_cache()


@pytest.fixture
def store(service: Service) -> Store:
    """An empty place in a bucket of it."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(bucket)
    return Store(f"s3://{bucket}/run")


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fails_once(kind: str, service: Service, store: Store) -> None:
    """Every request is spoiled, its repetition is not."""
    service.begin(Faults(share=1.0, kinds=(kind,), most=1))
    store.write("heaps/a.bin", b"0123456789")
    table = pa.table({"x": list(range(1000))})
    store.write_table("heaps/b.parquet", table)
    listed = store.list()
    assert list(listed) == ["heaps/a.bin", "heaps/b.parquet"]
    assert listed["heaps/a.bin"] == 10
    assert list(store.glob("heaps/*.bin")) == ["heaps/a.bin"]
    assert store.exists("heaps/a.bin")
    assert not store.exists("heaps/c")
    assert store.read("heaps/a.bin") == b"0123456789"
    assert store.read("heaps/a.bin", 3, 7, 4) == b"3456"
    assert store.read_table("heaps/b.parquet", ["x"]) == table
    pieces = [Piece("heaps/a.bin", 10), Piece("heaps/a.bin", 3, 7), Piece("heaps/none", 5)]
    whole, ranged, none = read_files(store, pieces)
    assert (whole, ranged) == (b"0123456789", b"789")
    assert isinstance(none, FileNotFoundError)
    assert service.happened.total() >= 12


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_a_fifth_of_the_requests_fail(
    seed: int, kind: str, service: Service, store: Store, pictures: list[bytes]
) -> None:
    """A dataset is read as from a store that never fails, whole and by ranges."""
    files = FORMATS[kind][1](pictures)
    for name, data in files.items():
        store.write(f"data/{name}", data)
    service.begin(Faults(seed, share=0.2))
    dataset = open_dataset(f"{store.url}/data")
    samples = [sample for part in dataset.parts() for sample in dataset.read(part)]
    assert sorted(sample.data for sample in samples) == sorted(pictures)
    fetched = dict(dataset.fetch([sample.located for sample in samples]))
    assert fetched == {sample.located: sample.data for sample in samples}
    for number in range(10):
        store.write(f"heaps/{number}", b"x" * number)
    assert list(store.list("heaps").values()) == list(range(10))
    assert service.happened


def test_what_was_written_may_be_seen_late(service: Service, store: Store) -> None:
    service.begin(Faults(share=0.0, late=1.0))
    store.write("heaps/a b", b"x")
    assert not store.exists("heaps/a b")
    assert not store.list()
    with pytest.raises(FileNotFoundError):
        store.read("heaps/a b")
    deadline = time.monotonic() + 10
    while not store.exists("heaps/a b"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert store.list() == {"heaps/a b": 1}
    assert service.happened == {"late": 1}


def test_a_bucket_that_does_not_write_for_long_is_named(
    service: Service, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.store.patience.OUTAGE", 1.0)
    service.begin(Faults(share=1.0, kinds=("503",), methods=PUT))
    with pytest.raises(WriteError, match="run/a could not be written"):
        store.write("a", b"x")
    assert service.happened["503"] > 3
    assert not store.exists("a")


def test_a_bucket_that_does_not_answer_for_long_is_incomplete(
    service: Service, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.store.patience.OUTAGE", 1.0)
    store.write("a", b"x")
    service.begin(Faults(share=1.0, kinds=("503", "reset")))
    for reach in (store.list, store.exists, store.info, lambda: store.read("a")):
        with pytest.raises(StoreError, match=r"cannot be reached.*give the same command again"):
            reach()


@pytest.mark.parametrize("size", [10, None])
def test_what_is_always_short_is_not_waited_for(
    size: int | None, service: Service, store: Store
) -> None:
    """An object that was exchanged for a shorter one stays short."""
    store.write("a", b"0123456789")
    service.begin(Faults(share=1.0, kinds=("short",), methods=GET))
    with pytest.raises(StoreError, match=r"5 of 10 bytes came|Expected checksum"):
        store.read("a", size=size)
    assert service.happened["short"] == 5
    assert service.requests == {"GET": 5} | ({} if size else {"HEAD": 1})


def test_what_comes_short_after_other_failures_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.data.store.patience._PAUSES", wait_none())
    failures: list[OSError] = [*[TimeoutError()] * 9, *[ShortError()] * 4, *[TimeoutError()] * 9]

    def call() -> str:
        if failures:
            raise failures.pop()
        return "read"

    assert Patience(str, on_disk=False)(call, "x") == "read"


def test_what_killed_writers_left_is_swept_when_it_is_old(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("heaps/a", b"x")
    left = [tmp_path / "heaps" / f".a.{uuid.uuid4().hex}" for _ in range(2)]
    others = [tmp_path / ".config", tmp_path / "heaps" / ".a.0123"]
    for path in (*left, *others):
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    left[1].touch()  # somebody is writing it
    store.sweep()
    assert not left[0].exists()
    assert all(path.exists() for path in (left[1], *others, tmp_path / "heaps" / "a"))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.ESTALE])
def test_a_disk_that_fails_once(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error of the device shows when what is written is to reach it."""
    reach_the_disk, failures = os.fsync, [number]

    def fsync(file: int) -> None:
        if failures:
            raise OSError(failures.pop(), os.strerror(number))
        reach_the_disk(file)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr("pipeline.data.store.patience._PAUSES", wait_none())
    Store(tmp_path).write("a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert "could not be written" not in caplog.text  # it is said of the second time
