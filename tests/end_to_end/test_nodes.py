"""Nodes that lack a mount, workers that hang: others do it; the rows are those undisturbed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from jobs.soak.processes import entitled
from pipeline.cluster.crew import Job
from pipeline.cluster.on_ray.crew import RayCrew
from pipeline.cluster.seats import Seats
from pipeline.cluster.session import connected
from pipeline.cluster.shift import bounded
from pipeline.errors import MissingDataError
from tests.end_to_end.runs import Run, assert_same_mined, command, until

Joined = Callable[[Path], AbstractContextManager[None]]


def _nodes() -> int:
    return sum(node["Alive"] for node in ray.nodes())


@pytest.fixture
def blind_node(cluster: Cluster) -> Joined:
    """A node of the cluster on which a folder is empty, as where a mount is missing."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("no right to a view of the disks of one's own")

    @contextmanager
    def joined(folder: Path) -> Iterator[None]:
        ray_cli = f"{sys.executable} -c 'from ray.scripts.scripts import main; main()'"
        script = (
            f"mount -t tmpfs tmpfs '{folder}' && exec {ray_cli} start --block --num-cpus=1 "
            f"--address={cluster.address} --disable-usage-stats"
        )
        before = _nodes()
        started: list[subprocess.Popen[bytes]] = []

        def came() -> bool:
            if not started or started[-1].poll() is not None:  # Ray gives a node 30 s to begin
                node = subprocess.Popen(
                    ["unshare", "-m", "sh", "-c", script],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
                started.append(node)
            return _nodes() == before + 1

        try:
            until(came, "the blind node", seconds=240)
            yield
        finally:
            started[-1].terminate()
            started[-1].wait(timeout=60)
            until(lambda: _nodes() == before, "the blind node's end")

    return joined


def test_a_doctor_sees_what_nodes_lack(
    blind_node: Joined,
    cluster: Cluster,
    tars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, run = tmp_path / "job.toml", tmp_path / "run"
    config.write_text(f'run = "{run}"\n[mine]\ndata = "{tars}"\nnet = "demo"\n')
    command("doctor", "--config", config)
    assert "All is well" in capsys.readouterr().out
    assert not run.exists()
    with blind_node(tars):
        command("doctor", "--config", config, code=2)
        said = capsys.readouterr()
        assert said.err.count("cannot read the data") == 1
        assert said.out.count("yes   yes") == 2
    (tmp_path / "shared").mkdir()
    with blind_node(tmp_path / "shared"):
        command("doctor", tars, "--run", tmp_path / "shared" / "run", code=2)
        assert capsys.readouterr().err.count("is another folder there than here") == 1


def test_a_node_without_the_data_does_no_harm(
    blind_node: Joined,
    undisturbed: Run,
    tars: Path,
    run: Run,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    idle = RayCrew.idle
    with blind_node(tars):
        with monkeypatch.context() as patch:  # nobody gets work before all are there
            patch.setattr(RayCrew, "idle", lambda crew: idle(crew) if crew.size == 3 else [])
            command(*run.mining(tars, "--workers", 3))
        assert "No such file or directory" in caplog.text
        assert "Not done" not in caplog.text
        command(*run.projecting("--workers", 3))
    assert_same_mined(run, undisturbed)
    assert len(run.projections()) == len(undisturbed.projections())


def find(blind: str, unit: int) -> int:
    """A unit of work on any node but one, on which nothing is found."""
    if ray.get_runtime_context().get_node_id() == blind:
        raise MissingDataError(f"{unit} is not found; put it back.")
    return unit


def test_what_the_first_worker_does_not_find_waits_for_the_others(cluster: Cluster) -> None:
    """Those on the way may find it: processes start at different speeds."""
    here = ray.get_runtime_context().get_node_id()
    (other,) = (node for node in cluster.list_all_nodes() if node is not cluster.head_node)
    raylet = other.all_processes["raylet"][0].process
    raylet.send_signal(signal.SIGSTOP)  # for less time than makes it a dead node
    threading.Timer(8.0, raylet.send_signal, [signal.SIGCONT]).start()
    with connected():
        done = bounded(Job(lambda _: here, find), [1, 2, 3], Seats(2, cpus=1, gpus=0), "find", str)
        assert sorted(done) == [1, 2, 3]


def test_a_node_without_the_pictures_of_a_folder_does_no_harm(
    blind_node: Joined, pictures: Path, run: Run, tmp_path: Path
) -> None:
    alone = Run(str(tmp_path / "alone"))
    command(*alone.mining(pictures, "--workers", 2))
    with blind_node(pictures):
        command(*run.mining(pictures, "--workers", 3))
    assert_same_mined(run, alone)
    assert not len(run.skipped())


def test_a_run_that_a_node_does_not_see_is_refused(
    blind_node: Joined, tars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(str(tmp_path / "run"))
    with blind_node(tmp_path):
        command(*run.mining(tars, "--workers", 3), code=2)
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "does not see it" in sentence
    assert not run.objects("heaps")


def test_an_atlas_that_a_node_does_not_see_is_refused(
    blind_node: Joined, undisturbed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with blind_node(tmp_path):
        command("publish", "--run", undisturbed.url, tmp_path / "atlas", code=2)
    assert "put DEST where all see it" in capsys.readouterr().err.splitlines()[-1]


def test_what_no_node_finds_is_named(
    cluster: Cluster, pictures: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    lost = sorted(data.rglob("*.png"))[3]
    lost.unlink()
    lost.symlink_to(tmp_path / "there")
    (tmp_path / "there").write_bytes(b"will be gone")
    mine = run.mining(data, "--workers", 2)
    command(*mine, "--layers", "conv1")  # what cannot be decoded is a skipped sample
    assert len(run.skipped()) == 1
    shutil.rmtree(run.url)

    def vanish() -> None:
        until(lambda: run.objects(""), "the run's beginning")
        (tmp_path / "there").unlink()

    thread = threading.Thread(target=vanish)
    thread.start()
    command(*mine, code=1)
    thread.join()
    assert f"{lost} is not found; put it back" in capsys.readouterr().err
    assert not run.objects("winners")


def test_a_worker_that_hangs(
    undisturbed: Run,
    tars: Path,
    run: Run,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.cluster.shift._LEAST", 1.0)
    stopped: list[int] = []

    def stop() -> None:
        until(lambda: run.objects("heaps"), "a heap")
        until(lambda: entitled("ray::mine"), "somebody who mines")
        stopped.append(entitled("ray::mine")[0])
        os.kill(stopped[0], signal.SIGSTOP)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        began = time.monotonic()
        command(*run.mining(tars, "--workers", 2))
        assert time.monotonic() - began < 60
        assert "another worker does it too" in caplog.text or "hangs" in caplog.text
    finally:
        thread.join()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert_same_mined(run, undisturbed)
