"""Processes, nodes and disks that fail in the middle; the result is that of an undisturbed run."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import ray
from ray.cluster_utils import Cluster

from jobs.soak.processes import WORKING, entitled
from pipeline import schema
from pipeline.cluster.session import connected
from pipeline.core.nets.recipe import Recipe
from pipeline.data.class_names import ClassNames
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store
from pipeline.data.weights.load import load_net
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from tests.end_to_end.runs import (
    LAYERS,
    TOP_K,
    Run,
    assert_same,
    assert_same_mined,
    command,
    program,
    until,
)

IDLE = "ray::Worker"


def strike(what: str) -> None:
    """SIGKILL whoever is doing this, as soon as there is somebody."""

    def kill() -> int:
        pids = entitled(f"ray::{what}")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return len(pids)

    until(kill, f"somebody whose work is to {what}")


@contextmanager
def meanwhile(happens: Callable[[], object], run: Run, prefix: str) -> Iterator[None]:
    """As soon as something lies below `prefix`, while the block is running, do something."""
    happened = threading.Event()

    def wait() -> None:
        until(lambda: run.objects(prefix), f"something in {prefix}")
        happens()
        happened.set()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()
    assert happened.is_set()


def test_workers_killed_while_mining(
    undisturbed: Run, tars: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with meanwhile(lambda: strike("mine"), run, "heaps"):
        command(*run.mining(tars, "--workers", 2))
    assert "its worker was lost" in caplog.text
    caplog.clear()
    with meanwhile(lambda: strike("project"), run, schema.PROJECTION_SETTINGS):
        command(*run.projecting())
    assert "its worker was lost" in caplog.text
    assert_same(run, undisturbed)


def test_a_node_lost_while_mining(
    cluster: Cluster, undisturbed: Run, tars: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    (node,) = (node for node in cluster.list_all_nodes() if node is not cluster.head_node)
    try:
        with meanwhile(lambda: cluster.remove_node(node, allow_graceful=False), run, "heaps"):
            command(*run.mining(tars, "--workers", 2))
    finally:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
    assert_same_mined(run, undisturbed)


def test_the_driver_killed_while_mining_and_projecting(
    cluster: Cluster, undisturbed: Run, tars: Path, run: Run
) -> None:
    mining = [*run.mining(tars), "--workers", 2, "--address", cluster.address]
    killed_after(run, "heaps", mining)
    assert not run.objects("winners")
    before = run.identities("heaps")
    assert 0 < len(before) < 5
    command(*run.mining(tars))
    after = run.identities("heaps")
    assert len(after) == 5
    assert before.items() <= after.items(), "what was done was done again"

    projecting = run.projecting("--address", cluster.address)
    killed_after(run, "projected", projecting)
    command(*run.projecting())
    assert_same(run, undisturbed)


def killed_after(run: Run, prefix: str, arguments: list[object]) -> None:
    """The program, killed when it has stored its first result, and all that it had started."""
    with subprocess.Popen(
        program(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        until(lambda: run.objects(prefix), f"something in {prefix}")
        driver.kill()
    until(lambda: not entitled(IDLE, *WORKING), "the orphans' end")


def test_two_writers_of_one_part_and_leftovers_are_harmless(
    one_thread: None, undisturbed: Run, tars: Path, run: Run
) -> None:
    for folder in ("heaps", "statistics"):
        shutil.copytree(f"{undisturbed.url}/{folder}", f"{run.url}/{folder}")
    shutil.copy(f"{undisturbed.url}/run.json", run.url)
    (heap,) = (Path(run.url) / "heaps").glob("demo-0002-*.parquet")
    heap.rename(heap.with_name(f".{heap.name}.0123"))  # as a killed writer leaves it
    whole = load_net("demo").net
    dataset = open_dataset(str(tars), class_names=ClassNames.of(whole.categories or (), True))
    part = dataset.parts()[1]
    before = (Path(run.url) / schema.heap_name(part.name)).read_bytes()
    miner = Miner.exact(Recipe.of(whole, LAYERS.split(",")).make("cpu"))
    mine_part([miner], dataset, part, [Store(run.url)], TOP_K)
    assert (Path(run.url) / schema.heap_name(part.name)).read_bytes() == before
    command(*run.mining(tars))
    assert_same_mined(run, undisturbed)


def test_workers_stay_from_stage_to_stage_and_leave_at_the_end(
    undisturbed: Run, tars: Path, run: Run
) -> None:
    """As long as they sit as they should: else all would wait for those who wait for work."""
    with connected():
        command(*run.mining(tars, "--workers", 2, "--precision", "fast"))
        miners = entitled(IDLE)
        assert len(miners) == 2
        command(*run.projecting("--workers", 2))
        command("publish", "--run", run.url, "--workers", 2)
        assert entitled(IDLE) == miners
        command("explain", *range(10), "--run", run.url, "--workers", 1)
        assert len(entitled(IDLE)) == 1
        assert not set(entitled(IDLE)) & set(miners)
    until(lambda: not entitled(IDLE, *WORKING), "the workers' end")
    pd.testing.assert_frame_equal(run.projections(), undisturbed.projections(), check_exact=True)


def test_very_many_parts_are_condensed_by_workers(
    undisturbed: Run, tars: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stages.merging.condense._PARTS", 2)
    monkeypatch.setattr("pipeline.stages.merging.condense._FEWEST", 3)
    command(*run.mining(tars, "--workers", 2))
    pd.testing.assert_frame_equal(run.winners(), undisturbed.winners(), check_exact=True)
    # sums of sums
    pd.testing.assert_frame_equal(run.feature_maps(), undisturbed.feature_maps(), rtol=1e-6)
    assert not run.objects("merging")


@pytest.fixture
def small_disk(undisturbed: Run, tmp_path: Path) -> Iterator[Path]:
    """A disk with room for about half of the heaps, and what goes with them."""
    place = tmp_path / "small"
    place.mkdir()
    stored = [undisturbed.objects(folder) for folder in ("heaps", "statistics")]
    size = sum(sum(objects.values()) for objects in stored) * 6 // 10
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(
    undisturbed: Run, tars: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(str(small_disk / "run"))
    command(*run.mining(tars, "--workers", 2), code=1)
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in sentence
    assert "the same command again" in sentence
    assert not run.objects("winners")
    stored = run.identities("heaps")
    assert 0 < len(stored) < 5
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    command(*run.mining(tars))
    assert stored.items() <= run.identities("heaps").items()
    assert_same_mined(run, undisturbed)


def test_a_place_that_cannot_be_written(
    cluster: Cluster, tars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    command(*Run(str(tmp_path / "file")).mining(tars), code=2)
    assert "name another --run" in capsys.readouterr().err
    command(*Run("s3://there-is-no-such-bucket/run").mining(tars), code=2)
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "there-is-no-such-bucket" in sentence


def test_a_damaged_heap_is_named(
    undisturbed: Run, tars: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("heaps", "statistics"):
        shutil.copytree(f"{undisturbed.url}/{folder}", f"{run.url}/{folder}")
    shutil.copy(f"{undisturbed.url}/run.json", run.url)
    (heap,) = (Path(run.url) / "heaps").glob("demo-0001-*.parquet")
    heap.write_bytes(heap.read_bytes()[:1000])
    command(*run.mining(tars), code=1)
    (sentence,) = capsys.readouterr().err.splitlines()
    assert heap.name in sentence


def test_someone_elses_work_is_waited_for_but_not_silently(
    cluster: Cluster,
    tars: Path,
    run: Run,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @ray.remote(num_cpus=1)
    class Stranger:
        def ready(self) -> None: ...

    monkeypatch.setattr("pipeline.cluster.on_ray.crew._PATIENCE", 1.0)
    strangers = [Stranger.remote() for _ in range(2)]
    ray.get([stranger.ready.remote() for stranger in strangers])
    timer = threading.Timer(4, lambda: ray.kill(strangers[0]))
    timer.start()
    # one of the two places stays taken: the worker that has found its place does everything
    command(*run.mining(tars, "--workers", 2, "--layers", "conv1"))
    timer.join()
    ray.kill(strangers[1])
    assert "in use by others" in caplog.text
