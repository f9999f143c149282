"""How many answers a service gives, and how soon, to so many who ask at once.

``python -m jobs.load http://127.0.0.1:8000 photos/`` beside ``deconv-atlas ask RUN``: answers about
whole pictures for 1, 4 and 16 clients, and answers while a square follows a hand.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from typing import Annotated
from urllib.parse import quote, urlsplit

import typer
from rich.table import Table

from pipeline.terminal import console

_TIMEOUT = 120.0
_SIDE = 60  # of the square, in pixels of the net's input
_PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
_IN_FLIGHT = 2  # as the page has it

Ask = Callable[[HTTPConnection], int]
"""One question; returns the status."""


@dataclass(frozen=True)
class Load:
    """What came of asking for a while.

    Attributes:
        clients: who asked at once.
        seconds: for so long.
        times: of each answer, in seconds.
        faults: how many questions had none, by status; 0 is a broken connection.
    """

    clients: int
    seconds: float
    times: tuple[float, ...]
    faults: dict[int, int]

    @property
    def row(self) -> tuple[str, ...]:
        """Clients, answers a second, median and 95th percentile, faults."""
        times = sorted(self.times) or [float("nan")]
        late = times[min(len(times) - 1, int(0.95 * len(times)))]
        figures = (1000 * median(times), 1000 * late)
        rate = f"{len(self.times) / self.seconds:.1f}"
        faults = ", ".join(f"{n} of {status}" for status, n in self.faults.items())
        return (str(self.clients), rate, *(f"{figure:.0f}" for figure in figures), faults)


def load(address: str, ask: Callable[[], Iterator[Ask]], clients: int, seconds: float) -> Load:
    """Ask at once, each client its next question as soon as the last one is answered.

    Args:
        address: of the service.
        ask: the questions of one client, without end.
        clients: how many.
        seconds: after which no question is begun.
    """
    times: list[float] = []
    faults: dict[int, int] = {}
    begun = time.perf_counter()

    def client() -> None:
        line = HTTPConnection(urlsplit(address).netloc, timeout=_TIMEOUT)
        for question in ask():
            start = time.perf_counter()
            if start - begun > seconds:
                break
            try:
                status = question(line)
            except (OSError, HTTPException):
                status = 0
                line.close()
            if status == 200:
                times.append(time.perf_counter() - start)
            else:
                faults[status] = faults.get(status, 0) + 1
        line.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(clients, time.perf_counter() - begun, tuple(times), faults)


def pictures(files: Sequence[bytes]) -> Iterator[Ask]:
    """Questions about whole pictures, one after the other."""
    for data in itertools.cycle(files):
        yield lambda line, data=data: _status(line, "/ask/answer", data)  # type: ignore[misc]


def hand(address: str, data: bytes) -> Callable[[], Iterator[Ask]]:
    """Questions about a picture while a square is moved over it; all maps of the answer watched."""
    line = HTTPConnection(urlsplit(address).netloc, timeout=_TIMEOUT)
    line.request("POST", "/ask/answer", data)
    answer = json.loads(line.getresponse().read())
    line.request("GET", "/ask/service")
    height, width = json.loads(line.getresponse().read())["input"]
    line.close()
    side = min(_SIDE, height // 2, width // 2)
    watched = "".join(
        f"&map={quote(layer['layer'])}/{found['feature_map']}"
        for layer in answer["layers"]
        for found in layer["maps"]
    )

    def questions() -> Iterator[Ask]:
        for step in itertools.count():
            top, left = (7 * step) % (height - side), (11 * step) % (width - side)
            box = f"{top},{left},{top + side},{left + side}"
            path = f"/ask/hidden?picture={answer['picture']}&box={box}{watched}"
            yield lambda line, path=path: _again(line, path, data)  # type: ignore[misc]

    return questions


def _again(line: HTTPConnection, path: str, data: bytes) -> int:
    """About a picture that was shown; a replica that has not seen it is sent it, as by the page."""
    status = _status(line, path, b"")
    return _status(line, path, data) if status == 404 else status


def _status(line: HTTPConnection, path: str, data: bytes) -> int:
    line.request("POST", path, data)
    response = line.getresponse()
    response.read()
    return response.status


def main(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Of a service.")],
    photos: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of pictures to show it.")],
    clients: Annotated[str, typer.Option(help="How many at once, with commas between.")] = "1,4,16",
    seconds: Annotated[float, typer.Option(help="For each of them.")] = 10.0,
) -> None:
    """Ask a service as fast as it answers, and say how fast that is."""
    paths = [path for path in sorted(photos.rglob("*")) if path.suffix.lower() in _PICTURES]
    files = [path.read_bytes() for path in paths[:64]]
    if not files:
        raise typer.BadParameter(f"There are no pictures in {photos}.")
    columns = ("at once", "answers/s", "median, ms", "95 %, ms", "faults")
    table = Table(*columns, title="whole pictures, then a square that follows a hand", box=None)
    load(address, lambda: pictures(files), 1, 2.0)  # warm
    for count in clients.split(","):
        table.add_row(*load(address, lambda: pictures(files), int(count), seconds).row)
    table.add_row(*load(address, hand(address, files[0]), _IN_FLIGHT, seconds).row)
    console().print(table)


if __name__ == "__main__":
    typer.run(main)
