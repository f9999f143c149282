"""The three stages under faults, and what must come of them."""

import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.soak.cluster import Cluster
from jobs.soak.compare import DifferenceError
from jobs.soak.processes import kill_family
from jobs.soak.service import Faults, Service
from jobs.soak.strikes import Scene, Strike
from pipeline.data.store import Options, Store

STAGES = ("mine", "project", "publish")
TRIES = 8
"""How often a stage is begun; after the first time the store alone fails."""

LIMIT = 420.0
"""Seconds after which a command that has not ended hangs."""

LATEST = 15.0
"""Seconds after which a strike comes, at most: a stage takes little longer."""

_TRUE = {
    "head lost": "No Ray cluster answers",
    "shard gone for 5 s": "is not what ",
    "shard exchanged for 5 s": "is not what ",
}
"""Strike → what a request is refused with, and rightly, as long as it lasts: a driver that begins
meanwhile meets no head, or a dataset that is another one."""

_SHARES = (0.0, 0.1, 0.2, 0.3)
_LATE = (0.0, 0.1)
_MOST_STRIKES = 3  # in a stage
_NET = ["--net", "demo", "--class-names", "net", "--layers", "conv1,conv3,conv5", "--top-k", "5"]


@dataclass(frozen=True)
class Stand:
    """What the episodes have in common.

    Attributes:
        cluster: that does the work.
        service: the store, with its faults.
        truly: the options with which the true store is reached, to see what is there.
        data: to mine.
        disk: a small one for runs, if there is one.
    """

    cluster: Cluster
    service: Service
    truly: Options
    data: str
    disk: Path | None

    def new_run(self, on_disk: bool) -> str:
        """A place for one, on the disk if that is asked for and there is one."""
        parent = self.disk if on_disk and self.disk else f"{self.data}-runs"
        return f"{parent}/{uuid.uuid4().hex}"

    def store(self, url: str) -> Store:
        """A run or the data, as they are."""
        return Store(url, self.truly)

    def command(self, stage: str, run: str) -> list[str]:
        """The program that does a stage."""
        arguments = {
            "mine": [self.data, "--run", run, *_NET, "--workers", "2"],
            "project": ["--run", run, "--arrays", "--workers", "2"],
            "publish": ["--run", run, "--workers", "2"],
        }[stage]
        command = [sys.executable, "-m", "pipeline.cli.app", stage, *arguments]
        return [*command, "--address", self.cluster.address]


def undisturbed(stand: Stand, run: str) -> dict[str, Counter[str]]:
    """A run without faults: for each stage, its requests by method, and the bytes of them.

    Raises:
        DifferenceError: a stage does not end well.
    """
    traffic = {}
    for stage in STAGES:
        stand.service.begin(None)
        _attempted(stand, stage, run, [], random.Random(0))
        traffic[stage] = stand.service.requests + stand.service.sizes
    return traffic


def disturbed(stand: Stand, run: str, seed: int, kinds: Sequence[str]) -> Counter[str]:
    """A run with the faults of a seed, strikes of these kinds alone: how many of each.

    Raises:
        DifferenceError: a stage does not end well.
    """
    chance, happened, before = random.Random(seed), Counter[str](), stand.cluster.calls_lost()
    for stage in STAGES:
        share = chance.choice(_SHARES)
        strikes = chance.sample(kinds, min(len(kinds), chance.randint(0, _MOST_STRIKES)))
        late = chance.choice(_LATE)
        stand.service.begin(Faults(chance.randrange(1 << 30), share, late=late))
        happened += _attempted(stand, stage, run, strikes, chance)
        happened += Counter({f"request: {k}": n for k, n in stand.service.happened.items()})
    stand.service.begin(None)
    return happened + Counter({"call of Ray's": stand.cluster.calls_lost() - before})


def _attempted(
    stand: Stand, stage: str, run: str, strikes: Sequence[str], chance: random.Random
) -> Counter[str]:
    """A stage, begun again while it is incomplete; what struck it."""
    happened = Counter[str]()
    waiting = [random.Random(chance.random()) for _ in strikes]
    for _ in range(TRIES):
        with subprocess.Popen(
            stand.command(stage, run),
            env=stand.cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as driver:
            places = stand.store(stand.data), stand.store(run)
            scenes = [Scene(stand.cluster, driver, stand.service, *places, own) for own in waiting]
            under_way = [
                Strike(kind, scene, LATEST) for kind, scene in zip(strikes, scenes, strict=True)
            ]
            try:
                said, _ = driver.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                kill_family(driver.pid)
                raise DifferenceError(f"{stage} has not ended after {LIMIT:g} s") from None
        struck = [strike.kind for strike in under_way if strike.settled()]
        happened += Counter(struck)
        strikes, waiting = [], []
        if driver.returncode == 0:
            return happened
        is_wrong = driver.returncode == 2 and not any(
            kind in struck and sentence in said for kind, sentence in _TRUE.items()
        )
        if is_wrong or "Traceback" in said:
            raise DifferenceError(f"{stage} ended with {driver.returncode}: {said[-3000:]}")
        time.sleep(1)
    raise DifferenceError(f"{stage} was incomplete {TRIES} times: {said[-3000:]}")
