"""Files on a web server that asks for a signature in the query."""

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipeline.data.formats.dataset import open_dataset
from pipeline.errors import RequestError
from tests.data.formats.test_dataset import as_compressed_tars, as_parquet, as_tars, read

SIGNATURE = "sig=a%2Fb%2Bc&expires=[9]*"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves files below a folder, whole or a range of them, to whoever has the signature."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            file = tmp_path / path.lstrip("/")
            if "sig=a%2Fb%2Bc" not in query and "sig=a/b%2Bc" not in query:
                self.send_error(403)
            elif not file.is_file():
                self.send_error(404)
            else:
                self._send(file.read_bytes())

        do_HEAD = do_GET  # noqa: N815

        def _send(self, data: bytes) -> None:
            asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first = int(asked[1]) if asked else 0
            last = int(asked[2]) if asked and asked[2] else len(data) - 1
            self.send_response(206 if asked else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            body = data[first : last + 1]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (as_tars, "train-0000.tar"),
        (as_compressed_tars, "train-0000.tar.gz"),
        (as_parquet, "data/train-00000-of-00003.parquet"),
    ],
)
def test_one_shard(
    write: object, name: str, server: str, tmp_path: Path, pictures: list[bytes]
) -> None:
    files = write(pictures)  # type: ignore[operator]
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    dataset = open_dataset(f"{server}/{name}?{SIGNATURE}")
    samples = read(dataset)
    assert [sample.data for sample in samples] == pictures[:10]
    fetched = dataset.fetch([sample.located for sample in samples[3:5]])
    assert [data for _, data in fetched] == pictures[3:5]


def test_a_range_of_shards(server: str, tmp_path: Path, pictures: list[bytes]) -> None:
    for path, data in as_tars(pictures).items():
        (tmp_path / path).write_bytes(data)
    dataset = open_dataset(f"{server}/train-{{0000..0002}}.tar?{SIGNATURE}")
    assert [sample.data for sample in read(dataset)] == pictures


def test_a_wrong_signature(server: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(RequestError, match=r"/a\.tar\?sig=x .* or the signature"):
        open_dataset(f"{server}/a.tar?sig=x")
