"""A Ray cluster on this machine whose nodes can be lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from jobs.soak.clocks import Clocks
from jobs.soak.processes import kill_family

NODES = 2
"""Beside the head; each has one processor, the head has none."""

CLOCKS = ("driver", "head", *(f"node-{index}" for index in range(NODES)))
"""Each machine has its own."""

_RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
_AGAIN = ["sh", "-c", 'until "$@"; do sleep 1; done', "sh"]
"""A node that has not begun within 30 s gives up, as on a machine that is busy."""

_MEMORY = 200 << 20  # of each node's object store, in bytes: on one machine they share it
_START = 60.0  # seconds that a head may take


class Cluster:
    """A head and some nodes, each a family of processes, as long as the block lasts.

    Args:
        variables: of the environment, beside this process's own.
        lost_calls: percent of Ray's own calls that fail on the way there, and as many each on the
            way back and while they are under way.
    """

    def __init__(self, variables: Mapping[str, str], lost_calls: int = 0) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        own = {**variables, "RAY_AUTH_MODE": "disabled"}
        if lost_calls:
            own["RAY_testing_rpc_failure"] = _losing(lost_calls)
        self._folder = Path(tempfile.mkdtemp())
        self._clocks = Clocks(self._folder)
        self._environment = {**os.environ, **own}
        self._head: subprocess.Popen[bytes] | None = None
        self._nodes: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """Of the programs that lead it."""
        return self._environment | self._clocks.variables("driver")

    def __enter__(self) -> "Cluster":
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def calls_lost(self) -> int:
        """How many of Ray's calls have failed so far, as far as its logs tell."""
        logs = self._folder.glob("session_2*/logs/*")
        return sum(log.read_bytes().count(b"Inject RPC") for log in logs if log.is_file())

    def lose_node(self, index: int) -> None:
        """A node is gone at once; another comes in its place."""
        _lost(self._nodes[index])
        self._nodes[index] = self._node(index)

    def lose_head(self) -> None:
        """The head is gone, and with it all of the cluster; one starts again at its address."""
        self._end()
        self._begin()

    def set_clock(self, whose: str, seconds: int) -> None:
        """Put a clock of `CLOCKS` so much forward, or back."""
        self._clocks.set(whose, seconds)

    def _begin(self) -> None:
        host, port = self.address.split(":")
        head = ["--head", f"--port={port}", f"--node-ip-address={host}", "--num-cpus=0"]
        place = [f"--temp-dir={self._folder}", "--include-dashboard=false"]
        self._head = self._started("head", [*head, *place])
        _await(host, int(port))
        self._nodes = [self._node(index) for index in range(NODES)]

    def _end(self) -> None:
        for process in (*self._nodes, self._head):
            if process is not None:
                _lost(process)
        self._head, self._nodes = None, []

    def _node(self, index: int) -> "subprocess.Popen[bytes]":
        return self._started(f"node-{index}", [f"--address={self.address}", "--num-cpus=1"])

    def _started(self, clock: str, options: list[str]) -> "subprocess.Popen[bytes]":
        common = ["--block", "--disable-usage-stats", f"--object-store-memory={_MEMORY}"]
        return subprocess.Popen(
            [*_AGAIN, *_RAY, "start", *options, *common],
            env=self._environment | self._clocks.variables(clock),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _losing(percent: int) -> str:
    """What tells Ray to lose calls."""
    ways = ("req_failure_prob", "resp_failure_prob", "in_flight_failure_prob")
    return json.dumps({"*": {"num_failures": -1, **dict.fromkeys(ways, percent)}})


def _lost(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGSTOP)  # or it would see its children die and say so
    kill_family(process.pid)
    process.wait()


def _await(host: str, port: int) -> None:
    end = time.monotonic() + _START
    while True:
        with socket.socket() as line:
            if not line.connect_ex((host, port)):
                return
        if time.monotonic() > end:
            raise TimeoutError(f"no Ray head answers at {host}:{port}")
        time.sleep(0.1)
