"""A run that is under way, seen from elsewhere; and what is left of it at the end."""

import re
import subprocess
import time
import urllib.request
from pathlib import Path

import ray

from pipeline.data.store import Store
from pipeline.data.stored.progress import read_progress
from tests.end_to_end.runs import Run, command, program, until


def test_a_run_under_way_is_seen_from_elsewhere(cluster: object, tars: Path, run: Run) -> None:
    """Its driver is another process, on a cluster that is busy with something else at first."""
    store = Store(run.url)
    address = ray.get_runtime_context().gcs_address
    sleep = ray.remote(num_cpus=1)(lambda: time.sleep(600))
    busy = [sleep.remote() for _ in range(2)]
    mining = [*run.mining(tars, "--workers", 2), "--address", address]
    with subprocess.Popen(program(*mining), stderr=subprocess.DEVNULL) as driver:
        try:
            until(lambda: read_progress(store, "mine"), "a report", seconds=120)
            state = read_progress(store, "mine")
            assert state is not None
            assert (state.workers, state.done, state.total, state.is_over) == (0, 0, 5, False)
            shown = subprocess.run(
                program("show", run.url), capture_output=True, text=True, check=True
            ).stdout
            assert re.search(r"mining, parts: 0 of 5; 0 at work \(as of \d+ s ago\)", shown)
        finally:
            for task in busy:
                ray.cancel(task, force=True)
            assert driver.wait(timeout=200) == 0
    state = read_progress(store, "mine")
    assert state is not None
    assert state.is_over
    assert (state.done, state.images, state.skipped) == (5, 150, 0)
    amounts = state.amounts
    assert amounts["bytes"] > 100_000
    assert all(amounts[name] > 0 for name in ("seconds", "reading", "decoding", "net", "writing"))


def test_rays_metrics_count_images(cluster: object, tars: Path, run: Run) -> None:
    before = _metric("images_total")
    command(*run.mining(tars, "--workers", 2))
    until(lambda: _metric("images_total") == before + 150, "the metric", seconds=60)


def _metric(name: str) -> float:
    """A metric's sum over all nodes, as Prometheus reads it."""
    total = 0.0
    for node in ray.nodes():
        if node["Alive"]:
            url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
            values = re.findall(rf"^ray_deconv_atlas_{name}{{.*}} (\S+)$", text, re.MULTILINE)
            total += sum(map(float, values))
    return total
