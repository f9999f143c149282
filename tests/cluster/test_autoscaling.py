"""A cluster that starts with no node for work, grows, shrinks again, and loses its head."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._raylet import GcsClient

from pipeline.data.demo.images import shard_bytes
from tests.cluster.clusters import OPEN, autoscaling, beheading, free_port, head, listens
from tests.end_to_end.runs import Run, program, until


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """120 generated pictures in six tar shards."""
    (folder := tmp_path / "tars").mkdir()
    for shard in range(6):
        numbers = range(shard * 20, shard * 20 + 20)
        (folder / f"{shard}.tar").write_bytes(shard_bytes(numbers))
    return folder


@pytest.fixture
def port() -> Iterator[int]:
    return free_port()


def nodes(port: int) -> int:
    """How many nodes are alive, the head among them."""
    return sum(
        node.state == 0 for node in GcsClient(f"127.0.0.1:{port}").get_all_node_info().values()
    )


def started(*arguments: object) -> "subprocess.Popen[str]":
    """The program, begun; what it says is piped."""
    return subprocess.Popen(
        program(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **OPEN},
    )  # fmt: skip


def test_from_no_node_to_two_and_back(port: int, tars: Path, tmp_path: Path) -> None:
    address = ("--address", f"127.0.0.1:{port}")
    run = Run(str(tmp_path / "run"))
    with autoscaling(port, tmp_path, {"CPU": 1}, most=2):
        until(lambda: listens(port), "the head")
        with started(*run.mining(tars, "--gpus", "required", *address)) as refused:
            _, said = refused.communicate(timeout=120)
            assert refused.returncode == 2, said
            assert "No type of node" in said
            assert "1 GPU with 1 CPU" in said
        assert nodes(port) == 1
        with started(*run.mining(tars, *address)) as mining:
            until(lambda: nodes(port) == 3, "two nodes for work")
            _, said = mining.communicate(timeout=180)
            assert mining.returncode == 0, said
        assert len(run.objects("heaps")) == 6
        until(lambda: nodes(port) == 1, "the nodes' end")


def test_a_head_that_dies_is_one_sentence(port: int, tars: Path, tmp_path: Path) -> None:
    address = ("--address", f"127.0.0.1:{port}")
    run = Run(str(tmp_path / "run"))
    with head(port, "--num-cpus=0", **OPEN) as cluster:
        until(lambda: listens(port), "the head")
        with started(*run.mining(tars, *address)) as mining:
            until(lambda: run.objects(""), "the run's beginning")
            subprocess.run(beheading(cluster), check=True)
            _, said = mining.communicate(timeout=120)
    *_, sentence = said.strip().splitlines()
    assert mining.returncode == 1, said
    assert "does not answer any more" in sentence
    assert "same command again" in sentence


def test_a_head_that_dies_while_a_call_waits_for_it(port: int) -> None:
    """Ray's own end of the process would come after a minute, without a word on what to do."""
    with head(port, "--num-cpus=0", **OPEN) as cluster:
        until(lambda: listens(port), "the head")
        script = f"""
import subprocess, ray
from pipeline.cluster.on_ray import head
from pipeline.cluster.on_ray.connection import connected
head._LAST = 10.0
with connected("127.0.0.1:{port}"):
    subprocess.run({beheading(cluster)}, check=True)
    ray.nodes()
"""
        waiting = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60,
            env={**os.environ, **OPEN}, check=False,
        )  # fmt: skip
    assert waiting.returncode == 1, waiting.stderr
    assert "does not answer any more" in waiting.stderr.strip().splitlines()[-1]


def test_a_cluster_that_wants_a_token(port: int, tars: Path, tmp_path: Path) -> None:
    run = Run(str(tmp_path / "run"))
    with head(port, "--num-cpus=1", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0123456789abcdef"):
        until(lambda: listens(port), "the head")
        with started(*run.mining(tars, "--address", f"127.0.0.1:{port}")) as mining:
            _, said = mining.communicate(timeout=120)
    assert mining.returncode == 2, said
    *_, sentence = said.strip().splitlines()  # after what Ray itself writes meanwhile
    assert "wants a token" in sentence
    assert "RAY_AUTH_MODE=token" in sentence
