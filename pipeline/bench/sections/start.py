"""From the command to the winners: whole processes, with Ray and without, and a loop by hand.

AlexNet with random weights over the same folder of pictures, one process after the other. The loop
by hand is `pipeline.bench.by_hand`: torch's loader with two processes, torchvision's transform, a
hook behind each layer, and the best of it all at the end. It knows neither places nor labels, and
nothing of it is left after a crash.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.bench.order import Order
from pipeline.bench.printer import Column, Finding
from pipeline.bench.runner import rounds
from pipeline.errors import IncompleteError

_COUNTS = {True: (64,), False: (250, 2000)}  # pictures; whether short
_COLUMNS = {"seconds": Column("s"), "to_hand": Column("to by hand", 2)}
_NOTES = (
    "All of a process, from its start to its end, files read from the system's memory. By hand: a",
    "loader, hooks and topk, in 60 lines; it has no places, no labels, no statistics.",
)


def measure(order: Order) -> Iterator[Finding]:
    """Whole processes in turn, for some numbers of pictures; AlexNet alone."""
    for count in _COUNTS[order.short] if order.net == "alexnet" else ():
        folder = _pictures(order, count)
        rivals = {
            "by hand": partial(_seconds, ["-m", "pipeline.bench.by_hand", str(folder)]),
            "mine": partial(_mine, folder),
            "mine, on a Ray of its own": partial(_mine, folder, "--address", "local"),
        }
        repeats = order.repeats_of_long(1)
        rows = rounds(rivals, repeats, f"{count} pictures", warm=not order.short)
        for row in rows.values():
            row["to_hand"] = row["seconds"] / rows["by hand"]["seconds"]
        yield Finding(f"From start to end, {count} pictures", _COLUMNS, rows, {}, _NOTES)


def _mine(folder: Path, *more: str) -> dict[str, float]:
    with TemporaryDirectory() as run:
        options = ["--run", run, "--net", "alexnet", "--weights", "random:0", *more]
        return _seconds(["-m", "pipeline.cli.app", "mine", str(folder), *options])


def _pictures(order: Order, count: int) -> Path:
    """A folder of so many files; where there are fewer pictures, they come again."""
    folder = order.folder / f"{count}-pictures"
    if not folder.exists():
        folder.mkdir()
        for number, data in enumerate(islice(cycle(order.pictures()), count)):
            (folder / f"{number:06d}.jpg").write_bytes(data)
    return folder


def _seconds(arguments: list[str]) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise IncompleteError(f"{' '.join(arguments)} failed: {done.stderr[-1000:]}")
    return {"seconds": time.perf_counter() - begun}
