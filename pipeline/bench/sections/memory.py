"""Memory does not grow with the dataset: peaks of processes that mine N, 4 N and 16 N images."""

import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.bench.order import TOP_K, Order, load, mining
from pipeline.bench.printer import Column, Finding
from pipeline.bench.runner import at_once, rounds
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store
from pipeline.stages.mine import Miner

_TIMES = {True: (1, 4), False: (1, 4, 16)}  # whether short
_FEWEST = 128  # two batches: one in the net while the next one is gathered
_PEAK = "peak_mib"
_COLUMNS = {_PEAK: Column("peak, MiB", 0), "against_fewest": Column("against\nthe fewest", 3)}
_NOTES = ("The most that a process of its own ever held; all images are one part.",)


def measure(order: Order) -> Iterator[Finding]:
    """Peaks of mining N, 4 N and 16 N images as one part; in short, once and not the last."""
    counts = [times * max(_FEWEST, order.images // 4) for times in _TIMES[order.short]]
    names = [f"{count} images" for count in counts]
    works = [
        partial(_peak, order.net, order.shards(1, count).url, Store(f"{order.run.url}/{count}"))
        for count in counts
    ]
    rivals = {"peaks": lambda: dict(zip(names, at_once(works), strict=True))}
    peaks = rounds(rivals, order.repeats_of_long(1), f"memory of {order.net}", warm=0)["peaks"]
    rows = {name: {_PEAK: peak} for name, peak in peaks.items()}
    for name in names[1:]:
        rows[name]["against_fewest"] = peaks[name] / peaks[names[0]]
    title = f"Memory of mining {order.net}, all layers, k = {TOP_K}"
    yield Finding(title, _COLUMNS, rows, {"net": order.net}, _NOTES)


def _peak(net: str, data: str, run: Store) -> float:
    """Mine in this process: the MiB that it held at most."""
    mining(Miner.exact(load(net)), open_dataset(data), run)()
    return peak_of_this_process()


def peak_of_this_process() -> float:
    """The MiB that it ever held at most."""
    # not from `getrusage` on Linux: what it tells starts at the peak of the parent process
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
