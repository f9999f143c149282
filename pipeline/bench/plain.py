"""A plain process that mines its share of a dataset's parts, for `pipeline.bench.workers`."""

import json
import sys
import time

from pipeline.bench.order import load, mine
from pipeline.cluster.process import settle
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store
from pipeline.stages.mine import Miner


def mine_share(name: str, data: str, run: str, share: str, passes: str) -> None:
    """Mine every n-th part, over and over.

    Prints for each: when it was done, by the clock that all processes share, its images, and the
    processor seconds that it took.
    """
    settle()
    first, count = map(int, share.split("/"))
    miner, dataset, store = Miner.exact(load(name)), open_dataset(data), Store(run)
    done = []
    for part in dataset.parts()[first::count] * int(passes):
        cpu = time.process_time()
        images = mine(miner, dataset, part, store)
        done.append((time.monotonic(), images, time.process_time() - cpu))
    print(json.dumps(done))


if __name__ == "__main__":
    mine_share(*sys.argv[1:])
