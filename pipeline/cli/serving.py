"""The commands that go on until they are stopped: an atlas, and answers beside it, over HTTP."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from pipeline.cli.options import asks_for, checked, say
from pipeline.request import AskRequest
from pipeline.terminal import waiting

_DAY = 86400.0


def serve(
    atlas: Annotated[
        str,
        typer.Argument(
            metavar="ATLAS", help="Where `publish` put it, or the RUN: a path or any fsspec URL."
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """Look at an atlas here, in a browser."""
    from pipeline.atlas.server import serve as make_server
    from pipeline.data.store import Store

    with make_server(Store(atlas), port) as server, _until_stopped() as stoppable:
        stoppable()
        say(f"http://127.0.0.1:{server.server_address[1]}/ - stop with Ctrl-C")
        server.serve_forever()


@asks_for(AskRequest, positional=["run"], metavars={"run": "RUN"})
def ask(**options: Any) -> None:
    """Show it a picture: which feature maps see what in it, and what counts. On Ray Serve.

    A page of the run's atlas, and an HTTP interface beside it.
    """
    with waiting("Loading torch"):
        from pipeline.commands.look.ask import asked

    request = checked(AskRequest, options)
    with _until_stopped() as stoppable, asked(request) as (address, has_page):
        stoppable()  # Ray has its own way to be terminated, which would leave the service behind
        if has_page:
            say(f"Ask here:      {address}#?ask")
        say(f"Its interface: {address}ask/openapi.json - stop with Ctrl-C")
        while True:
            time.sleep(_DAY)


@contextmanager
def _until_stopped() -> Iterator[Callable[[], object]]:
    """A block that Ctrl-C ends well; so does what stops a job, once what it yields is called."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    try:
        yield lambda: signal.signal(signal.SIGTERM, stop)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
