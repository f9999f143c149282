"""What is served, and to whom."""

import gzip
import threading
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from pipeline.atlas.server import serve
from pipeline.data.store import Store
from pipeline.errors import RequestError, StoreError

PAGE = b"<p>an atlas"


@pytest.fixture
def atlas() -> Store:
    store = Store(f"memory://{uuid.uuid4().hex}")
    store.write("run/secret", b"beside the atlas")
    store.write("run/atlas/index.html", PAGE)
    store.write("run/atlas/maps/a b.webp", b"RIFF")
    return store.at(f"{store.url}/run/atlas")


@pytest.fixture
def port(atlas: Store) -> Iterator[int]:
    with serve(atlas, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def asked(
    port: int, path: str, host: str = "localhost", method: str = "GET", **headers: str
) -> tuple[HTTPResponse, bytes]:
    line = HTTPConnection("127.0.0.1", port, timeout=30)
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    line.request(method, path, headers={"Host": host, **more})
    response = line.getresponse()
    body = response.read()
    line.close()
    return response, body


def test_pages_and_pictures(port: int) -> None:
    for path in ("/", "/index.html", "/?map=3#here"):
        response, body = asked(port, path)
        assert (response.status, body) == (200, PAGE)
        assert response.getheader("Content-Type") == "text/html; charset=utf-8"
    assert asked(port, "/maps/a%20b.webp")[1] == b"RIFF"
    assert asked(port, "/maps/none.webp")[0].status == 404


def test_head(port: int) -> None:
    response, body = asked(port, "/", method="HEAD")
    assert (response.status, body) == (200, b"")
    assert response.getheader("Content-Length") == str(len(PAGE))


def test_the_index_is_asked_for_again_and_all_else_is_kept(port: int) -> None:
    index = asked(port, "/")[0]
    assert index.getheader("Cache-Control") == "no-cache"
    tag = str(index.getheader("ETag"))
    again, body = asked(port, "/", If_None_Match=tag)
    assert (again.status, body) == (304, b"")
    assert asked(port, "/", If_None_Match='"another"')[0].status == 200
    assert "immutable" in str(asked(port, "/maps/a%20b.webp")[0].getheader("Cache-Control"))


def test_texts_are_packed_for_who_can_unpack_them(port: int) -> None:
    response, body = asked(port, "/", Accept_Encoding="br, gzip")
    assert response.getheader("Content-Encoding") == "gzip"
    assert gzip.decompress(body) == PAGE
    assert asked(port, "/maps/a%20b.webp", Accept_Encoding="gzip")[1] == b"RIFF"


@pytest.mark.parametrize(
    ("asked_for", "status", "body"),
    [
        ("bytes=1-2", 206, b"IF"),
        ("bytes=2-", 206, b"FF"),
        ("bytes=-1", 206, b"F"),
        ("bytes=0-99", 206, b"RIFF"),
        ("bytes=9-12", 200, b"RIFF"),
        ("bytes=-", 200, b"RIFF"),
        ("lines=1-2", 200, b"RIFF"),
    ],
)
def test_ranges(port: int, asked_for: str, status: int, body: bytes) -> None:
    response, found = asked(port, "/maps/a%20b.webp", Range=asked_for)
    assert (response.status, found) == (status, body)


def test_one_connection_brings_many_files(port: int) -> None:
    line = HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(3):
        line.request("GET", "/", headers={"Host": "localhost"})
        assert line.getresponse().read() == PAGE
        assert line.sock is not None  # it stays open
    line.close()


@pytest.mark.parametrize("path", ["/../secret", "/%2e%2e/secret", "/maps/../../secret"])
def test_nothing_beside_the_atlas(port: int, path: str) -> None:
    assert asked(port, path)[0].status == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("elsewhere.example", 421),
        ("localhost.elsewhere.example:8000", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_other_names_that_lead_here_are_refused(port: int, host: str, status: int) -> None:
    for method in ("GET", "HEAD"):
        response, body = asked(port, "/", host, method)
        assert response.status == status
        assert PAGE not in body or status == 200


def test_a_store_that_fails_is_named(
    port: int, atlas: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise StoreError("memory: cannot be reached")

    monkeypatch.setattr(Store, "read", fail)
    response, body = asked(port, "/")
    assert response.status == 502
    assert b"cannot be reached" in body


def test_where_there_is_no_atlas() -> None:
    with pytest.raises(RequestError, match="There is no atlas"):
        serve(Store(f"memory://{uuid.uuid4().hex}"), 0)
