"""Look at an atlas from here: any store served over HTTP on this machine alone."""

from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from pipeline.data.store import Store, content_type
from pipeline.errors import RequestError

INDEX = "index.html"


def serve(atlas: Store, port: int) -> ThreadingHTTPServer:
    """A server of the atlas on localhost; the caller runs it and closes it.

    Args:
        atlas: where `publish` put it.
        port: to listen on; 0 takes a free one.

    Raises:
        RequestError: there is no atlas, or the port is taken.
    """
    if not atlas.exists(INDEX):
        raise RequestError(
            f"There is no atlas at {atlas.url}; `deconv-atlas publish --run RUN` makes one."
        )
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), _handler(atlas))
    except OSError as error:
        raise RequestError(
            f"Port {port} cannot be used ({error}); choose another --port."
        ) from error


def _handler(atlas: Store) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = unquote(urlsplit(self.path).path).lstrip("/") or INDEX
            try:
                if ".." in name.split("/"):
                    raise FileNotFoundError(name)
                data = atlas.read(name)
            except (OSError, ValueError):  # a name that no store can have
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            with suppress(ConnectionError):  # the browser has gone on to another page
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", content_type(name))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are of no interest here."""

    return Handler
