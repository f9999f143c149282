"""Writes that fail once: on a disk, and on an S3 service over HTTP."""

import errno
import os
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from moto.moto_server.werkzeug_app import create_backend_app
from tenacity import wait_none
from werkzeug.serving import make_server

from pipeline.data.store import Store
from pipeline.errors import WriteError

Application = Callable[..., Any]


class Faulty:
    """A service in front of another one that spoils the first PUTs of an object."""

    def __init__(self, behind: Application) -> None:
        self.behind = behind
        self.left = 0
        self.fault = "500"
        self.bucket = ""

    def __call__(self, environ: dict[str, Any], start: Application) -> Any:
        is_object = environ["PATH_INFO"].count("/") > 1
        if environ["REQUEST_METHOD"] != "PUT" or not is_object or not self.left:
            return self.behind(environ, start)
        self.left -= 1
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if self.fault == "500":
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        line: socket.socket = environ["werkzeug.socket"]
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.shutdown(socket.SHUT_RDWR)  # reset, without an answer
        raise ConnectionResetError


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    service = Faulty(create_backend_app("s3"))
    server = make_server("127.0.0.1", 0, service, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",  # of the client by itself
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pipeline.data.store.patience._PAUSES", wait_none())
    filesystem = fsspec.get_filesystem_class("s3")
    filesystem.clear_instance_cache()
    bucket = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(bucket)
    service.bucket = f"s3://{bucket}"
    yield service
    filesystem.clear_instance_cache()
    server.shutdown()
    thread.join()


@pytest.mark.parametrize("fault", ["500", "reset"])
def test_a_bucket_that_fails_once(faulty: Faulty, fault: str) -> None:
    faulty.fault, faulty.left = fault, 1
    store = Store(f"{faulty.bucket}/run")
    store.write("heaps/a.bin", b"0123456789")
    assert faulty.left == 0
    assert store.read("heaps/a.bin") == b"0123456789"


def test_a_bucket_that_fails_for_good_is_named(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.store.patience.OUTAGE", 2.0)
    faulty.left = 10**6
    with pytest.raises(WriteError, match="run/a could not be written"):
        Store(f"{faulty.bucket}/run").write("a", b"x")
    assert faulty.left < 10**6 - 3


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
