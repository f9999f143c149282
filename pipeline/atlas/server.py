"""Look at an atlas from here: any store served over HTTP."""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from pipeline import schema
from pipeline.atlas.documents.names import INDEX
from pipeline.data.store import Store
from pipeline.data.store.headers import Kept, cache_control, content_type, packed
from pipeline.errors import RequestError, StoreError

THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}
"""Its names for itself."""


def serve(place: Store, port: int) -> ThreadingHTTPServer:
    """A server of an atlas on localhost; the caller runs it and closes it.

    Args:
        place: where `publish` put it, or the run that it was put into.
        port: to listen on; 0 takes a free one.

    Raises:
        RequestError: there is no atlas, or the port is taken.
    """
    atlas = atlas_at(place)
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), _handler(atlas))
    except OSError as error:
        raise RequestError(
            f"Port {port} cannot be used ({error}); choose another --port."
        ) from error


def atlas_at(place: Store) -> Store:
    """The atlas at a place: where `publish` put it, or in the run that it was put into.

    Raises:
        RequestError: there is none.
    """
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
            if not is_this_machine(self.headers.get("Host")):
                self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
                return
            made = reply(atlas, unquote(urlsplit(self.path).path), self.headers.get)
            if made.status >= HTTPStatus.BAD_REQUEST:
                self.send_error(made.status, explain=made.body.decode())
                return
            with suppress(ConnectionError):  # the browser has gone on to another page
                self.send_response(made.status)
                for header, value in made.headers.items():
                    self.send_header(header, value)
                self.end_headers()
                if with_body:
                    self.wfile.write(made.body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are of no interest here."""

    return Handler


@dataclass(frozen=True)
class Reply:
    """What is answered to a request for a file of an atlas; a sentence where there is none.

    Attributes:
        status: of HTTP.
        headers: without those of every reply.
        body: without what is in it.
    """

    status: HTTPStatus
    headers: dict[str, str]
    body: bytes


def reply(atlas: Store, path: str, header: Callable[[str], str | None]) -> Reply:
    """A file of an atlas.

    Args:
        atlas: where it is.
        path: that was asked for, unquoted.
        header: of the request, by its name.
    """
    name = path.lstrip("/") or INDEX
    try:
        if ".." in name.split("/"):
            raise FileNotFoundError(name)
        data = atlas.read(name)
    except StoreError as error:
        return Reply(HTTPStatus.BAD_GATEWAY, {}, str(error).encode())
    except (OSError, ValueError):  # a name that no store can have
        return Reply(HTTPStatus.NOT_FOUND, {}, b"The atlas has no such file.")
    tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
    kept: Kept = "never" if name == INDEX else "forever"
    headers = {"ETag": tag, "Cache-Control": cache_control(kept), "Accept-Ranges": "bytes"}
    headers["Vary"] = "Accept-Encoding"
    if tag in (header("If-None-Match") or ""):
        return Reply(HTTPStatus.NOT_MODIFIED, headers, b"")
    status, part = HTTPStatus.OK, _range(header("Range"), len(data))
    if part is not None:
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
        data = data[part]
    elif "gzip" in (header("Accept-Encoding") or "") and (small := packed(name, data)):
        data, headers["Content-Encoding"] = small, "gzip"
    headers |= {"Content-Type": content_type(name), "Content-Length": str(len(data))}
    return Reply(status, headers, data)


def _range(asked: str | None, size: int) -> slice | None:
    """The bytes that a request is for; None for all, also where it asks for what is not there."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    return slice(start, end) if start < end else None


def is_this_machine(host: str | None) -> bool:
    """Whether a request is for this machine, as its `Host` says.

    A page elsewhere could have its own name lead to this machine, and read what is served here.
    """
    if host is None:
        return True
    with suppress(ValueError):  # no name at all
        return urlsplit(f"//{host}").hostname in THIS_MACHINE
    return False
