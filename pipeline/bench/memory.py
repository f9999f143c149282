"""Memory does not grow with the dataset: peaks of processes that mine N, 4 N and 16 N images.

Run as a program, it is such a process and prints its peak.
"""

import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.bench.figures import Block, Column, Figure, Finding
from pipeline.bench.order import TOP_K, Order, load, mine, subject
from pipeline.cluster.process import settle
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store
from pipeline.stages.mine import Miner
from pipeline.terminal import progress

_TIMES = {True: (1, 4), False: (1, 4, 16)}  # whether short
_FEWEST = 128  # two batches: one in the net while the next one is gathered
_SHORT_REPEATS = 1
_AT_ONCE = 2  # processes: a peak does not depend on its neighbours, as a time does

_PEAK = Column("peak_mib", "peak, MiB", 0)
_AGAINST = Column("against_fewest", "against\nthe fewest", 3)


def bench_memory(order: Order) -> Iterator[Finding]:
    """Peaks of mining N, 4 N and 16 N images as one part; in short, not the last."""
    repeats = min(order.repeats, _SHORT_REPEATS) if order.short else order.repeats
    for net in order.nets:
        fewest = max(_FEWEST, subject(order, net).images // 4)
        yield _block(net, _measure(order, net, fewest, repeats))


def _measure(order: Order, net: str, fewest: int, repeats: int) -> dict[int, Figure]:
    """Images → peaks in MiB."""
    counts = [times * fewest for times in _TIMES[order.short]]
    jobs = [(order.shards(1, count), net) for _ in range(repeats) for count in counts[::-1]]
    peaks = []
    with (
        ThreadPoolExecutor(_AT_ONCE) as pool,
        progress(f"memory of {net}, processes", len(jobs)) as advance,
    ):
        for peak in pool.map(_peak, *zip(*jobs, strict=True)):
            peaks.append(peak)
            advance(1)
    return {count: Figure(tuple(peaks[at :: len(counts)])) for at, count in enumerate(counts[::-1])}


def _block(net: str, peaks: dict[int, Figure]) -> Finding:
    fewest = min(peaks)
    rows = {
        f"{images} images": {_PEAK.key: peak}
        | ({} if images == fewest else {_AGAINST.key: peak / peaks[fewest]})
        for images, peak in sorted(peaks.items())
    }
    notes = ("The most that a process of its own ever held; all images are one part.",)
    return Block(
        f"Memory of mining {net}, all layers, k = {TOP_K}", (_PEAK, _AGAINST), rows, {"net": net},
        notes,
    ).finding()  # fmt: skip


# --- in a process of its own ------------------------------------------------------------------


def _peak(data: str, net: str) -> float:
    """MiB that a process of its own takes at most to mine a dataset."""
    command = [sys.executable, "-m", "pipeline.bench.memory", data, net]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def _mine_and_tell_peak(data: str, name: str) -> None:
    settle()
    miner, dataset = Miner.exact(load(name)), open_dataset(data)
    with TemporaryDirectory() as run:
        for part in dataset.parts():
            mine(miner, dataset, part, Store(run))
    print(_peak_here())


def _peak_here() -> float:
    """MiB that this process took at most."""
    # not from `getrusage` on Linux: what it tells starts at the peak of the parent process
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    _mine_and_tell_peak(sys.argv[1], sys.argv[2])
