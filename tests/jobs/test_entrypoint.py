"""The very command of the KubeRay job, in a shell."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import yaml

from pipeline.data.demo.images import draw

ROOT = Path(__file__).parents[2]
ENTRYPOINT = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text())["spec"]["entrypoint"]
CONFIG = "/etc/deconv-atlas/job.toml"


def started(config: Path) -> "subprocess.Popen[str]":
    """The job, with its TOML file at `config` and no pause."""
    assert CONFIG in ENTRYPOINT
    command = ENTRYPOINT.replace("python", sys.executable, 1).replace(CONFIG, str(config))
    return subprocess.Popen(
        f"{command} --pause 0", shell=True, cwd=config.parent, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def written(folder: Path, data: Path) -> Path:
    """The TOML file of a small job."""
    config = folder / "job.toml"
    config.write_text(
        f'run = "{folder}/run"\n[mine]\ndata = "{data}"\nnet = "demo"\nlayers = ["conv1"]\n'
        f'workers = 1\n[project]\nworkers = 1\n[publish]\ndest = "{folder}/atlas"\n'
    )
    return config


def test_a_stage_that_dies_is_run_again_up_to_the_atlas(tmp_path: Path) -> None:
    (photos := tmp_path / "photos").mkdir()
    for index in range(4):
        draw(index).image.save(photos / f"{index}.png")
    config = written(tmp_path, photos)
    job = started(config)
    os.kill(_stage("jobs.mine", config), signal.SIGKILL)
    said, _ = job.communicate(timeout=240)
    assert job.returncode == 0, said
    assert said.count("Again in 0 s, from where it stopped.") == 1
    assert (tmp_path / "atlas" / "index.html").is_file()


def _stage(module: str, config: Path) -> int:
    """The process of the job's stage, once it is there."""
    wanted = f"{sys.executable}\0-m\0{module}\0--config\0{config}\0".encode()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended
                if process.read_bytes() == wanted:
                    return int(process.parent.name)
        time.sleep(0.05)
    raise AssertionError(f"no {module}")


def test_a_wrong_request_is_not_tried_again(tmp_path: Path) -> None:
    job = started(written(tmp_path, tmp_path / "nowhere"))
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 2
    assert said.count("nowhere does not exist") == 1
    assert said.splitlines()[-1].startswith("Exit status 2: the request was wrong")
