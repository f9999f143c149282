"""A proxy in front of an S3 service over HTTP that spoils a share of the requests.

It can also be late: what was written is not seen for a while, neither by its name nor in a list.
"""

import random
import re
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
from urllib.parse import unquote, urlsplit

STATUSES = ("429", "500", "502", "503", "504")
KINDS = (*STATUSES, "reset", "lost", "cut", "short", "slow")
"""An answer of this status; no answer; the work done and no answer; half a body, and the line cut;
half a body that says it is whole; an answer that takes a second."""

_SLOW = 1.0  # seconds
_LATE = 1.5  # the same
_ENTIRE = {"cut": "reset", "short": "reset"}  # what these become where there is no body
_NOT_FOUND = b"<Error><Code>NoSuchKey</Code><Message>Not there yet.</Message></Error>"
_LISTED = re.compile(rb"<Contents>.*?<Key>(.*?)</Key>.*?</Contents>", re.DOTALL)
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
        late: share of the objects that are not seen for a while after they were written.
    """

    seed: int = 0
    share: float = 0.2
    kinds: tuple[str, ...] = KINDS
    methods: tuple[str, ...] = ()
    most: int | None = None
    late: float = 0.0

    def of(self, method: str, target: str, before: int) -> str | None:
        """The fault of a request that came `before` times before, if it has one."""
        if (self.methods and method not in self.methods) or (
            self.most is not None and before >= self.most
        ):
            return None
        chance = random.Random(f"{self.seed} {method} {target} {before}")
        return chance.choice(self.kinds) if chance.random() < self.share else None

    def is_late(self, path: str) -> bool:
        """Whether an object is."""
        return random.Random(f"{self.seed} {path}").random() < self.late


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
    _unseen: dict[str, float] = field(default_factory=dict)
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

    def hide(self, path: str) -> None:
        """Note that an object was written, which may not be seen for a while."""
        if self.faults is not None and self.faults.is_late(path):
            with self._lock:
                self._unseen[path] = time.monotonic() + _LATE
                self.happened["late"] += 1

    def is_hidden(self, path: str) -> bool:
        """Whether an object is not seen yet."""
        return self._unseen.get(path, 0.0) > time.monotonic()


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
        elif self.command in ("GET", "HEAD") and self.service.is_hidden(self.place):
            self.answer(404, {"Content-Type": "application/xml"}, _NOT_FOUND)
        else:
            time.sleep(_SLOW if fault == "slow" else 0)
            self.forward(body, fault)

    @property
    def place(self) -> str:
        """The object, or for a list the bucket."""
        return unquote(self.path.partition("?")[0])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815

    def forward(self, body: bytes, fault: str | None) -> None:
        with closing(HTTPConnection(self.address, timeout=60)) as line:
            line.request(self.command, self.path, body, dict(self.headers))
            response = line.getresponse()
            data = response.read()
        self.service.count(len(body), len(data))
        if self.command == "PUT":
            self.service.hide(self.place)
        if "list-type=" in self.path:
            data = self.seen(data)
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

    def seen(self, listing: bytes) -> bytes:
        """A list without the objects that are not seen yet."""

        def entry(found: re.Match[bytes]) -> bytes:
            path = f"{self.place.rstrip('/')}/{unquote(found[1].decode())}"
            return b"" if self.service.is_hidden(path) else found[0]

        return _LISTED.sub(entry, listing)

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
