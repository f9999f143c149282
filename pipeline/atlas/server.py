"""Look at an atlas from here: any store served over HTTP on this machine alone."""

from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from pipeline import schema
from pipeline.data.store import Store, content_type
from pipeline.errors import RequestError, StoreError

INDEX = "index.html"

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
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", content_type(name))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if with_body:
                    self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are of no interest here."""

    return Handler


def _is_this_machine(host: str | None) -> bool:
    """Whether a request is for this machine, as its `Host` says.

    A page elsewhere could have its own name lead to this machine, and read what is served here.
    """
    if host is None:
        return True
    with suppress(ValueError):  # no name at all
        return urlsplit(f"//{host}").hostname in _NAMES
    return False
