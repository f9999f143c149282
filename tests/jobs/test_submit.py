"""Jobs as Ray runs them: submitted over HTTP to a cluster of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from ray.job_submission import JobStatus, JobSubmissionClient

from pipeline.data.demo.images import draw

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """The address of a cluster that takes jobs."""
    pytest.importorskip("aiohttp_cors", reason="ray's dashboard needs ray[default]")
    with socket.create_server(("127.0.0.1", 0)) as free:  # not the one of other clusters here
        port = free.getsockname()[1]
    nodes = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": True,
            "dashboard_port": 0,
            "dashboard_agent_listen_port": port,
        },
    )
    address = f"http://{nodes.head_node.webui_url}"
    _await_agent(JobSubmissionClient(address))
    yield address
    nodes.shutdown()


def _await_agent(jobs: JobSubmissionClient) -> None:
    """What starts jobs comes up later than what takes them."""
    deadline = time.monotonic() + 90
    while True:
        try:
            jobs.submit_job(entrypoint="true")
        except RuntimeError:  # "No available agent to submit job, please try again later."
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def submitted(dashboard: str, command: str, *arguments: object) -> "subprocess.CompletedProcess":
    """`ray job submit`, waited for."""
    entry = [sys.executable, "-m", f"jobs.{command}", *map(str, arguments)]
    code = "from ray.scripts.scripts import main; main()"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    }
    return subprocess.run(
        [sys.executable, "-c", code, "job", "submit", "--address", dashboard, "--", *entry],
        capture_output=True, text=True, timeout=240, check=False, env=environment,
    )  # fmt: skip


def test_a_job_says_what_comes_next_as_a_job(dashboard: str, tmp_path: Path) -> None:
    (photos := tmp_path / "photos").mkdir()
    draw(0).image.save(photos / "one.png")
    run = tmp_path / "my run"
    options = ["--net", "demo", "--layers", "conv1", "--run", run]
    done = submitted(dashboard, "mine", photos, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    following = f"Next: ray job submit --working-dir . -- python -m jobs.project --run '{run}'"
    assert following in done.stdout
    assert "Exit status" not in done.stdout


def test_a_job_that_was_a_wrong_request_says_so_in_its_message(dashboard: str) -> None:
    done = submitted(dashboard, "mine", "nowhere", "--run", "r", "--net", "demo")
    assert done.returncode == 1
    jobs = JobSubmissionClient(dashboard).list_jobs()
    (job,) = [job for job in jobs if "nowhere" in job.entrypoint]
    assert job.driver_exit_code == 2
    *_, sentence, last = str(job.message).strip().splitlines()
    assert "nowhere does not exist" in sentence
    assert last == "Exit status 2: the request was wrong; the same job would fail again."


def test_so_does_a_job_of_all_stages(dashboard: str, tmp_path: Path) -> None:
    config = tmp_path / "job.toml"
    config.write_text('run = "r"\n[mine]\ndata = "not-there"\nnet = "demo"\n')
    done = submitted(dashboard, "all", "--config", config, "--pause", 0)
    assert done.returncode == 1
    jobs = JobSubmissionClient(dashboard).list_jobs()
    (job,) = [job for job in jobs if "jobs.all" in job.entrypoint]
    assert job.driver_exit_code == 2
    message = str(job.message).strip()
    assert message.count("not-there does not exist") == 1
    assert message.endswith("Exit status 2: the request was wrong; the same job would fail again.")


def test_a_stopped_job_leaves_nothing_behind_and_goes_on(dashboard: str, tmp_path: Path) -> None:
    (photos := tmp_path / "photos").mkdir()
    for index in range(8):
        draw(index).image.save(photos / f"{index}.png")
    config = tmp_path / "job.toml"
    config.write_text(
        f'run = "{tmp_path}/run"\n[mine]\ndata = "{photos}"\nnet = "demo"\nlayers = ["conv1"]\n'
        f'[publish]\ndest = "{tmp_path}/atlas"\n'
    )
    client = JobSubmissionClient(dashboard)
    entry = f"{sys.executable} -m jobs.all --config {config} --pause 0"
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    first = client.submit_job(entrypoint=entry, runtime_env=environment)
    _until(lambda: (tmp_path / "run" / "run.json").exists())
    client.stop_job(first)
    _until(lambda: client.get_job_status(first).is_terminal())
    assert client.get_job_status(first) == JobStatus.STOPPED
    _until(lambda: not _running(config))
    done = submitted(dashboard, "all", "--config", config, "--pause", 0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "atlas" / "index.html").is_file()


def _running(config: Path) -> list[str]:
    """The processes whose command line has `config`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            if str(config) in (line := process.read_bytes().decode(errors="replace")):
                found.append(line)
    return found


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
