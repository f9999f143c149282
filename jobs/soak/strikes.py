"""What is done to processes and to the store while a stage is at work."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.soak.cluster import CLOCKS, NODES, Cluster
from jobs.soak.disk import filled
from jobs.soak.processes import WORKING, entitled, kill_family, send
from jobs.soak.service import Faults, Service
from pipeline import schema
from pipeline.data.demo.images import shard_bytes
from pipeline.data.store import Store

_PAUSE = 5.0  # seconds for which a worker stands still
_OUTAGE = 15.0  # seconds for which the store does not answer
_AWAY = 5.0  # seconds for which a shard is gone, or another, or a disk full
_ONE_SHARD = threading.Lock()  # or one would be put back that was put there
_OTHERS = 10  # images in that one
_JUMP = 3600  # seconds by which a clock is wrong, at most
_TICK = 0.05


@dataclass(frozen=True)
class Scene:
    """Who can be struck.

    Attributes:
        cluster: that does the work.
        driver: the program that leads it.
        service: the store.
        images: the dataset in it, as it is.
        run: likewise.
        chance: of this strike alone.
    """

    cluster: Cluster
    driver: "subprocess.Popen[str]"
    service: Service
    images: Store
    run: Store
    chance: random.Random

    def worker(self) -> int | None:
        """One of the processes at work, as soon as there is one; None if the driver ends first."""
        while self.driver.poll() is None:
            if pids := entitled(*WORKING):
                return self.chance.choice(pids)
            time.sleep(_TICK)
        return None


def _kill_worker(scene: Scene) -> bool:
    pid = scene.worker()
    return pid is not None and send(pid, signal.SIGKILL)


def _pause_worker(scene: Scene) -> bool:
    pid = scene.worker()
    if pid is None or not send(pid, signal.SIGSTOP):
        return False
    time.sleep(_PAUSE)
    send(pid, signal.SIGCONT)
    return True


def _stop_worker(scene: Scene) -> bool:
    pid = scene.worker()
    return pid is not None and send(pid, signal.SIGSTOP)


def _lose_node(scene: Scene) -> bool:
    scene.cluster.lose_node(scene.chance.randrange(NODES))
    return True


def _lose_head(scene: Scene) -> bool:
    scene.cluster.lose_head()
    return True


def _kill_driver(scene: Scene) -> bool:
    kill_family(scene.driver.pid)
    return True


def _outage(scene: Scene) -> bool:
    usual = scene.service.faults
    scene.service.faults = Faults(share=1.0, kinds=("503",))
    time.sleep(_OUTAGE)
    scene.service.faults = usual
    return True


def _take_shard(scene: Scene) -> bool:
    return _without_shard(scene, None)


def _without_shard(scene: Scene, other: bytes | None) -> bool:
    with _ONE_SHARD:
        return _replaced(scene, other)


def _replaced(scene: Scene, other: bytes | None) -> bool:
    while not scene.run.exists(schema.RUN):  # before that the dataset is what is there
        if scene.driver.poll() is not None:
            return False
        time.sleep(_TICK)
    name = scene.chance.choice(list(scene.images.list()))
    shard = scene.images.read(name)
    if other is None:
        scene.images.remove(name)
    else:
        scene.images.write(name, other)
    time.sleep(_AWAY)
    scene.images.write(name, shard)
    return True


def _exchange_shard(scene: Scene) -> bool:
    """Sound, and another: nothing of it may be taken for what was listed."""
    return _without_shard(scene, shard_bytes(range(_OTHERS), seed=2))


def _fill_disk(scene: Scene) -> bool:
    if not scene.run.is_local:
        return False
    with filled(Path(scene.run.path()).parent):
        time.sleep(_AWAY)
    return True


def _set_clock(scene: Scene) -> bool:
    whose = scene.chance.choice(CLOCKS)
    scene.cluster.set_clock(whose, scene.chance.randint(-_JUMP, _JUMP))
    return True


STRIKES: dict[str, Callable[[Scene], bool]] = {
    "worker killed": _kill_worker,
    "worker paused": _pause_worker,
    "worker stopped for good": _stop_worker,
    "node lost": _lose_node,
    "head lost": _lose_head,
    "driver killed": _kill_driver,
    "store out for 15 s": _outage,
    "shard gone for 5 s": _take_shard,
    "shard exchanged for 5 s": _exchange_shard,
    "disk full for 5 s": _fill_disk,
    "clock set": _set_clock,
}
"""Each tells whether it struck."""


class Strike:
    """One strike, from a thread, some seconds after a stage began.

    Args:
        kind: of `STRIKES`.
        scene: where.
        latest: seconds after which it comes, at most.
    """

    def __init__(self, kind: str, scene: Scene, latest: float) -> None:
        self.kind, self.struck = kind, False
        self._scene, self._delay = scene, scene.chance.uniform(0, latest)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        end = time.monotonic() + self._delay
        while time.monotonic() < end:
            if self._scene.driver.poll() is not None:
                return
            time.sleep(_TICK)
        self.struck = STRIKES[self.kind](self._scene)

    def settled(self) -> bool:
        """Whether it struck, once that is over."""
        self._thread.join()
        return self.struck
