"""Mine, project and publish again and again under faults, each seed with its own.

A cluster of three nodes and an S3 service run on this machine, as processes of their own. After
each episode the run is compared with one that nothing disturbed. Needs the extra `test` and a C
compiler; Linux.
"""

import argparse
import logging
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import fsspec
from rich.console import Console
from rich.table import Table

from jobs.soak.cluster import Cluster
from jobs.soak.compare import DifferenceError, require_same
from jobs.soak.disk import small_disk
from jobs.soak.episode import Stand, disturbed, undisturbed
from jobs.soak.service import unreliable
from jobs.soak.strikes import STRIKES
from pipeline.data.demo.images import shard_bytes
from pipeline.data.store import Store

_SHARDS, _IMAGES, _SIZE = 12, 24, (160, 120)
_KEYS = {
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def main() -> int:
    """Run episodes; 0 if every run was as it should be, else 1."""
    description = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m jobs.soak", description=description)
    parser.add_argument("--seed", type=int, default=0, help="Of the first episode; then the next.")
    parser.add_argument(
        "--minutes", type=float, default=10, help="After which no other begins; 0: one episode."
    )
    parser.add_argument(
        "--lost-calls", type=int, default=0, metavar="PERCENT", help="Of Ray's own calls, thrice."
    )
    parser.add_argument(
        "--strikes", default=",".join(STRIKES), metavar="KINDS", help="Only these; commas between."
    )
    options = parser.parse_args()
    strikes = [kind for kind in options.strikes.split(",") if kind]
    if unknown := set(strikes) - STRIKES.keys():
        parser.error(f"no strike {', '.join(sorted(unknown))}; there are {', '.join(STRIKES)}")
    console = Console()
    happened, begun = Counter[str](), time.monotonic()
    with standing(options.lost_calls) as stand:
        if stand.disk is None:
            console.print("No right to mount a small disk: all runs lie in the bucket.")
        usual, seed = stand.new_run(on_disk=False), options.seed
        console.print(_traffic(undisturbed(stand, usual), stand))
        while seed == options.seed or time.monotonic() - begun < 60 * options.minutes:
            run, start = stand.new_run(on_disk=seed % 2 == 1), time.monotonic()
            try:
                faults = disturbed(stand, run, seed, strikes)
                require_same(stand.store(usual), stand.store(run))
                stand.store(run).fs.rm(run, recursive=True)
            except DifferenceError as error:
                same = f'--lost-calls {options.lost_calls} --strikes "{options.strikes}"'
                again = f"python -m jobs.soak --seed {seed} --minutes 0 {same}"
                console.print(f"Seed {seed}: {error}\nAgain: {again}", markup=False, soft_wrap=True)
                return 1
            happened += faults
            seconds = time.monotonic() - start
            console.print(f"Seed {seed}: {faults.total()} faults in {seconds:.0f} s, all the same.")
            seed += 1
    console.print(_table(happened, seed - options.seed))
    return 0


@contextmanager
def standing(lost_calls: int = 0) -> Iterator[Stand]:
    """A cluster, a service with images in it, as long as the block lasts.

    Args:
        lost_calls: as the cluster has it.
    """
    from moto.server import ThreadedMotoServer  # of the extra `test`

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would name every request
    true = ThreadedMotoServer(port=0, verbose=False)
    true.start()
    host, port = true.get_host_and_port()
    behind = f"http://{host}:{port}"
    keys = {"key": _KEYS["AWS_ACCESS_KEY_ID"], "secret": _KEYS["AWS_SECRET_ACCESS_KEY"]}
    options = {"endpoint_url": behind, **keys}
    bucket = f"s3://soak-{uuid.uuid4().hex[:8]}"
    fsspec.filesystem("s3", **options).mkdir(bucket)
    _put_images(Store(f"{bucket}/images", options))
    try:
        with (
            small_disk() as disk,
            unreliable(behind) as service,
            Cluster({**_KEYS, "AWS_ENDPOINT_URL": service.endpoint}, lost_calls) as cluster,
        ):
            yield Stand(cluster, service, options, f"{bucket}/images", disk)
    finally:
        true.stop()


def _put_images(store: Store) -> None:
    for shard in range(_SHARDS):
        images = range(shard * _IMAGES, (shard + 1) * _IMAGES)
        store.write(f"{shard:02d}.tar", shard_bytes(images, size=_SIZE))
    whole = shard_bytes(range(_IMAGES), seed=1, size=_SIZE)
    store.write(f"{_SHARDS:02d}.tar", whole[: len(whole) // 2])  # so that something is skipped


def _traffic(stages: Mapping[str, Counter[str]], stand: Stand) -> Table:
    size = sum(Store(stand.data, stand.truly).list().values())
    table = Table(title=f"Requests and bytes without faults; the images are {size:,} bytes")
    columns = sorted({name for counts in stages.values() for name in counts})
    for name in ("stage", *columns):
        table.add_column(name)
    for stage, counts in stages.items():
        table.add_row(stage, *(f"{counts[name]:,}" for name in columns))
    return table


def _table(happened: Counter[str], episodes: int) -> Table:
    title = f"{happened.total()} faults in {episodes} episodes, 0 rows different"
    table = Table("fault", "times", title=title)
    for kind, times in sorted(happened.items()):
        table.add_row(kind, str(times))
    return table


if __name__ == "__main__":
    sys.exit(main())
