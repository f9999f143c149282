"""A proxy in front of an S3 service over HTTP that spoils a share of the requests."""

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

STATUSES = ("429", "500", "502", "503", "504")
KINDS = (*STATUSES, "reset", "lost", "cut", "short", "slow")
"""An answer of this status; no answer; the work done and no answer; half a body, and the line cut;
half a body that says it is whole; an answer that takes a second."""

_SLOW = 1.0  # seconds
_ENTIRE = {"cut": "reset", "short": "reset"}  # what these become where there is no body
_OF_THE_LINE = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass(frozen=True)
class Faults:
    """Which requests are spoiled, and how: the same for the same seed, whatever their order.

    Args:
        seed: of the choice.
        share: of the requests that are spoiled.
        kinds: of `KINDS`, as likely as each other.
        methods: of HTTP that are spoiled; all where there is none.
        most: times that a request and its repetitions are spoiled; after that it passes.
    """

    seed: int = 0
    share: float = 0.2
    kinds: tuple[str, ...] = KINDS
    methods: tuple[str, ...] = ()
    most: int | None = None

    def of(self, method: str, target: str, before: int) -> str | None:
        """The fault of a request that came `before` times before, if it has one."""
        if (self.methods and method not in self.methods) or (
            self.most is not None and before >= self.most
        ):
            return None
        chance = random.Random(f"{self.seed} {method} {target} {before}")
        return chance.choice(self.kinds) if chance.random() < self.share else None


@dataclass
class Service:
    """The proxy while it runs.

    Attributes:
        endpoint: its own address.
        faults: the present ones; None spoils nothing.
        requests: that came, by method.
        sizes: bytes that were read and written.
        happened: faults, by kind.
    """

    endpoint: str
    faults: Faults | None = None
    requests: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: Any = field(default_factory=threading.Lock)

    def begin(self, faults: Faults | None) -> None:
        """Forget what came before, and spoil requests in this way from now on."""
        with self._lock:
            self.faults = faults
            for counter in (self.requests, self.sizes, self.happened, self._seen):
                counter.clear()

    def count(self, sent: int, received: int) -> None:
        """Note how many bytes of bodies a request brought and took."""
        with self._lock:
            self.sizes += Counter(written=sent, read=received)

    def fault(self, method: str, target: str) -> str | None:
        """Note a request; tells how it is to be spoiled."""
        with self._lock:
            self.requests[method] += 1
            if self.faults is None:
                return None
            kind = self.faults.of(method, target, self._seen[f"{method} {target}"])
            self._seen[f"{method} {target}"] += 1
            if kind is not None:
                kind = _ENTIRE.get(kind, kind) if method != "GET" else kind
                self.happened[kind] += 1
            return kind


@contextmanager
def unreliable(behind: str) -> Iterator[Service]:
    """A proxy as long as the block lasts, spoiling nothing until it is told to.

    Args:
        behind: the endpoint of the true service.
    """

    class Handler(_Handler):
        address = urlsplit(behind).netloc

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.service = Service(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Handler.service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Nothing: clients that are killed break off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    address: str
    service: Service

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        ranged = f"{self.path} {self.headers.get('Range', '')}"
        fault = self.service.fault(self.command, ranged)
        if fault in STATUSES:
            self.answer(int(fault), {}, b"")
        elif fault == "reset":
            self.reset()
        else:
            time.sleep(_SLOW if fault == "slow" else 0)
            self.forward(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815

    def forward(self, body: bytes, fault: str | None) -> None:
        with closing(HTTPConnection(self.address, timeout=60)) as line:
            line.request(self.command, self.path, body, dict(self.headers))
            response = line.getresponse()
            data = response.read()
        self.service.count(len(body), len(data))
        if fault == "lost":
            self.reset()
            return
        headers = {
            name: value for name, value in response.getheaders() if name.lower() not in _OF_THE_LINE
        }
        length = int(response.getheader("Content-Length") or 0) if self.command == "HEAD" else None
        kept = data[: len(data) // 2] if fault in ("cut", "short") else data
        if length is None:
            length = len(data if fault == "cut" else kept)
        self.answer(response.status, headers, kept, length)
        if fault == "cut":
            self.reset()

    def answer(
        self, status: int, headers: dict[str, str], body: bytes, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reset(self) -> None:
        """End the line without a farewell."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: stderr is the job's."""
