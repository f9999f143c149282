"""Look at an atlas from here: any store served over HTTP on this machine alone."""

import hashlib
import re
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from pipeline import schema
from pipeline.atlas.documents.names import INDEX
from pipeline.data.store import Store
from pipeline.data.store.headers import Kept, cache_control, content_type, packed
from pipeline.errors import RequestError, StoreError

_NAMES = {"localhost", "127.0.0.1", "::1"}


def serve(place: Store, port: int) -> ThreadingHTTPServer:
    """A server of an atlas on localhost; the caller runs it and closes it.

    Args:
        place: where `publish` put it, or the run that it was put into.
        port: to listen on; 0 takes a free one.

    Raises:
        RequestError: there is no atlas, or the port is taken.
    """
    atlas = _atlas_at(place)
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), _handler(atlas))
    except OSError as error:
        raise RequestError(
            f"Port {port} cannot be used ({error}); choose another --port."
        ) from error


def _atlas_at(place: Store) -> Store:
    if place.exists(INDEX):
        return place
    if place.exists(f"{schema.ATLAS}/{INDEX}"):
        return place.at(f"{place.url}/{schema.ATLAS}")
    run = place.url if place.exists(schema.RUN) else "RUN"
    raise RequestError(
        f"There is no atlas at {place.url}; `deconv-atlas publish --run {run}` makes one."
    )


def _handler(atlas: Store) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60.0

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def answer(self, with_body: bool) -> None:
            if not _is_this_machine(self.headers.get("Host")):
                self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
                return
            name = unquote(urlsplit(self.path).path).lstrip("/") or INDEX
            try:
                if ".." in name.split("/"):
                    raise FileNotFoundError(name)
                data = atlas.read(name)
            except StoreError as error:
                self.send_error(HTTPStatus.BAD_GATEWAY, explain=str(error))
                return
            except (OSError, ValueError):  # a name that no store can have
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            with suppress(ConnectionError):  # the browser has gone on to another page
                self.send(name, data, with_body)

        def send(self, name: str, data: bytes, with_body: bool) -> None:
            tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
            kept: Kept = "never" if name == INDEX else "forever"
            headers = {"ETag": tag, "Cache-Control": cache_control(kept), "Accept-Ranges": "bytes"}
            headers["Vary"] = "Accept-Encoding"
            status, part = HTTPStatus.OK, _range(self.headers.get("Range"), len(data))
            if tag in self.headers.get("If-None-Match", ""):
                status, data = HTTPStatus.NOT_MODIFIED, b""
            elif part is not None:
                status = HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
                data = data[part]
            elif "gzip" in self.headers.get("Accept-Encoding", "") and (
                small := packed(name, data)
            ):
                data, headers["Content-Encoding"] = small, "gzip"
            self.send_response(status)
            if status != HTTPStatus.NOT_MODIFIED:
                headers |= {"Content-Type": content_type(name), "Content-Length": str(len(data))}
            for header, value in headers.items():
                self.send_header(header, value)
            self.end_headers()
            if with_body:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are of no interest here."""

    return Handler


def _range(asked: str | None, size: int) -> slice | None:
    """The bytes that a request is for; None for all, also where it asks for what is not there."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    return slice(start, end) if start < end else None


def _is_this_machine(host: str | None) -> bool:
    """Whether a request is for this machine, as its `Host` says.

    A page elsewhere could have its own name lead to this machine, and read what is served here.
    """
    if host is None:
        return True
    with suppress(ValueError):  # no name at all
        return urlsplit(f"//{host}").hostname in _NAMES
    return False
