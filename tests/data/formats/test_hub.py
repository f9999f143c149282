"""Datasets of the Hugging Face hub, as a server here hands them out."""

import io
import json
import pickle
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.formats.dataset import open_dataset
from pipeline.errors import RequestError
from tests.data.formats.test_dataset import read

pytest.importorskip("huggingface_hub")

PICTURES = [b"picture %d" % number for number in range(5)]
NAME = "data/train-00000-of-00001.parquet"


def shard() -> bytes:
    stream = io.BytesIO()
    rows = [{"bytes": picture, "path": None} for picture in PICTURES]
    pq.write_table(pa.table({"image": rows, "label": list(range(5))}), stream)
    return stream.getvalue()


class Hub(BaseHTTPRequestHandler):
    """One data set, someone/photos, with one file."""

    content = shard()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if not re.match(r"(/api)?/datasets/someone/photos", path):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif "/resolve/" in path:
            asked = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            first, last = (int(asked[1]), int(asked[2])) if asked else (0, len(self.content))
            self._send(206, self.content[first : last + 1])
        elif "/tree/" in path:
            folder = {"type": "directory", "path": "data", "oid": "0" * 40}
            file = {"type": "file", "path": NAME, "size": len(self.content), "oid": "0" * 40}
            inside = path.endswith("/data") or "recursive=true" in query.lower()
            self._send(200, json.dumps([file] if inside else [folder]).encode())
        else:
            about = {"id": "someone/photos", "_id": "1", "sha": "0" * 40, "tags": []}
            self._send(200, json.dumps(about | {"private": False, "siblings": []}).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("below", ["", "/data/*.parquet", f"/{NAME}", "@refs/convert/parquet"])
def test_a_dataset_of_the_hub(below: str, endpoint: str) -> None:
    url = f"hf://datasets/someone/photos{below}"
    dataset = open_dataset(url, options={"endpoint": endpoint})
    samples = read(dataset)
    assert [sample.data for sample in samples] == PICTURES
    assert [sample.label for sample in samples] == list(range(5))
    sent = pickle.loads(pickle.dumps(dataset))
    assert [data for _, data in sent.fetch([samples[3].located])] == [PICTURES[3]]


def test_no_such_dataset(endpoint: str) -> None:
    with pytest.raises(RequestError, match=r"someone/none/a\.parquet does not exist"):
        open_dataset("hf://datasets/someone/none/a.parquet", options={"endpoint": endpoint})
