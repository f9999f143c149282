"""A service over a run, as a program of its own, and how it is asked."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from ray._private import state

from tests.cluster.clusters import free_port

SHARED = Path(__file__).parents[3].parent / "shared"
WEIGHTS = SHARED / "weights" / "squeezenet1_1-imagenet.pth"
PHOTOS = sorted((SHARED / "photos").rglob("*.JPEG"))[:24]
LAYERS = ("features.3.squeeze", "features.6.squeeze", "features.12.squeeze")

with_photographs = pytest.mark.skipif(
    not PHOTOS or not WEIGHTS.exists(), reason="no photographs here"
)

_STARTS = 240.0
_REPLICA = "ServeReplica:deconv-atlas:net"


@dataclass(frozen=True)
class Service:
    """It listens on this machine."""

    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(
        self, what: str, data: bytes = b"", **query: object
    ) -> tuple[int, list[dict[str, Any]]]:
        """The status, and the lines of what is answered."""
        line = HTTPConnection("127.0.0.1", self.port, timeout=120)
        line.request("POST", f"/ask/{what}?{urlencode(query, doseq=True)}", data)
        response = line.getresponse()
        lines = [json.loads(text) for text in response.read().splitlines()]
        line.close()
        return response.status, lines

    def answered(self, what: str, data: bytes = b"", **query: object) -> dict[str, Any]:
        status, (answer,) = self.post(what, data, **query)
        assert status == 200, answer
        return answer

    def refused(self, what: str, data: bytes = b"", **query: object) -> tuple[int, str]:
        status, (answer,) = self.post(what, data, **query)
        assert set(answer) == {"error"}, answer
        assert answer["error"].endswith(".")
        return status, answer["error"]


@contextmanager
def service(*arguments: object) -> Iterator[Service]:
    """A service as long as the block lasts; in the end it is stopped as jobs are."""
    port = free_port()
    command = [sys.executable, "-m", "jobs.ask", *map(str, arguments), "--port", str(port)]
    said = io.BytesIO()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        ends = time.monotonic() + _STARTS
        for line in process.stdout:  # it says so when it answers
            said.write(line)
            if b"Its interface" in line:
                break
            assert time.monotonic() < ends
        assert process.poll() is None, said.getvalue().decode()
        yield Service(port)
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, (said.getvalue() + rest).decode()


def replicas() -> list[int]:
    """The processes that hold a net, on the cluster that this one is connected to."""
    return [
        actor["Pid"]
        for actor in state.actors().values()
        if actor["State"] == "ALIVE" and actor["ActorClassName"] == _REPLICA
    ]


def kill_replica() -> None:
    """End one of them, as a machine that fails does."""
    os.kill(replicas()[0], signal.SIGKILL)


def photo(name: str) -> Path:
    """One of the photographs, by a part of its name."""
    (path,) = [path for path in PHOTOS if name in path.name]
    return path
