"""Ray clusters of their own, as programs: with Ray's autoscaler, with a token."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.cluster_utils import FAKE_HEAD_NODE_ID

RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
OPEN = {"RAY_AUTH_MODE": "disabled"}
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def head(port: int, *options: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The head of a cluster, listening at a port as long as the block lasts."""
    start = ["start", "--head", "--block", f"--port={port}", "--include-dashboard=false"]
    process = subprocess.Popen(
        [*RAY, *start, "--disable-usage-stats", *options],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:  # it may wait for a part of it that a test has killed
            subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
            process.kill()
            process.wait()


def beheading(cluster: "subprocess.Popen[bytes]") -> list[str]:
    """A command that kills a cluster's head alone.

    What started it would take the node down within a second or so, and Ray at once every program
    that is connected to it; elsewhere a node lives on for a minute.
    """
    return ["sh", "-c", f"kill -STOP {cluster.pid}; pkill -KILL -P {cluster.pid} gcs_server"]


def listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def autoscaling(
    port: int, folder: Path, node: Mapping[str, float], most: int
) -> Iterator["subprocess.Popen[bytes]"]:
    """A head without processors whose autoscaler starts nodes of one kind, from none on."""
    file = folder / "autoscaling.json"
    file.write_text(json.dumps(_autoscaling(port, node, most)))
    variables = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    options = ["--num-cpus=0", f"--autoscaling-config={file}"]
    with head(port, *options, **OPEN, **variables) as process:
        yield process


def _autoscaling(port: int, node: Mapping[str, float], most: int) -> dict[str, Any]:
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray")
    return {
        "cluster_name": "test",
        "max_workers": most,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": _PROVIDER,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": f"127.0.0.1:{port}",
        },
        "auth": {"ssh_user": "nobody"},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": node,
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            },
        },
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "worker_start_ray_commands": [],
        **{f"{command}_commands": [] for command in commands},
    }
