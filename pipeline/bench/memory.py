"""Memory does not grow with the dataset: peaks of processes that mine N, 4 N and 16 N images."""

import resource
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.bench.order import TOP_K, Order, load, mining
from pipeline.bench.printer import Column, Finding
from pipeline.bench.runner import processes, rounds
from pipeline.data.formats.dataset import Dataset
from pipeline.data.store import Store
from pipeline.stages.mine import Miner

_TIMES = {True: (1, 4), False: (1, 4, 16)}  # whether short
_FEWEST = 128  # two batches: one in the net while the next one is gathered
_AT_ONCE = 2  # processes
_PEAK = "peak_mib"
_COLUMNS = {_PEAK: Column("peak, MiB", 0), "against_fewest": Column("against\nthe fewest", 3)}
_NOTES = ("The most that a process of its own ever held; all images are one part.",)


def measure(order: Order) -> Iterator[Finding]:
    """Peaks of mining N, 4 N and 16 N images as one part; in short, once and not the last."""
    fewest = max(_FEWEST, order.images // 4)
    datasets = {
        f"{times * fewest} images": order.shards(1, times * fewest) for times in _TIMES[order.short]
    }
    rivals = {"peaks": lambda: _peaks(order, datasets)}
    peaks = rounds(rivals, order.repeats_of_long(1), f"memory of {order.net}", warm=0)["peaks"]
    rows = {name: {_PEAK: peaks[name]} for name in datasets}
    for name in list(rows)[1:]:
        rows[name]["against_fewest"] = peaks[name] / peaks[f"{fewest} images"]
    title = f"Memory of mining {order.net}, all layers, k = {TOP_K}"
    yield Finding(title, _COLUMNS, rows, {"net": order.net}, _NOTES)


def _peaks(order: Order, datasets: Mapping[str, Dataset]) -> dict[str, float]:
    """MiB for each dataset, the largest first; peaks do not depend on neighbours, as times do."""

    def peak(name: str) -> float:
        with processes(1) as pool:
            run = order.run.child(name)
            return pool.submit(_peak, order.net, datasets[name], run).result()

    names = list(datasets)[::-1]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(names, pool.map(peak, names), strict=True))


def _peak(net: str, dataset: Dataset, run: Store) -> float:
    """Mine in this process: the MiB that it held at most."""
    mining(Miner.exact(load(net)), dataset, run)()
    # not from `getrusage` on Linux: what it tells starts at the peak of the parent process
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
