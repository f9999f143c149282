"""The program as people start it: the demo, a terminal, Ctrl-C, a server of an atlas."""

import os
import pty
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest
from ray.cluster_utils import Cluster

from tests.end_to_end.runs import Run, command, finished, program, until


def test_the_demo(tmp_path: Path) -> None:
    done = finished("demo", "--images", 96, "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "here/run/atlas/index.html" in done.stdout
    assert (tmp_path / "here" / "run" / "atlas" / "index.html").is_file()
    winners = pd.read_parquet(tmp_path / "here" / "run" / "winners")
    assert winners["layer"].nunique() == 5
    assert winners["class_name"].notna().all()
    mined = r"^mining, parts: 1 of 1 in \d+ s; 96 images, \d+/s$"
    assert re.search(mined, done.stderr, re.MULTILINE)
    assert {path.name for path in tmp_path.iterdir()} == {"here"}
    other = finished("demo", "--images", 50, "--out", "here", cwd=tmp_path)
    assert other.returncode == 2
    assert "name another --out" in other.stderr


def test_a_long_folder_for_temporary_files(pictures: Path, run: Run, tmp_path: Path) -> None:
    """As a batch system sets it: too long for the names of Ray's sockets."""
    folder = tmp_path / "of-a-batch-system" / "user-name-of-somebody" / "job-1234567890"
    folder.mkdir(parents=True)
    before = set(Path("/tmp").glob("ray-*"))
    environment = {key: value for key, value in os.environ.items() if key != "RAY_TMPDIR"}
    done = subprocess.run(
        program(
            "mine", pictures, "--run", run.url, "--net", "demo", "--layers", "conv1",
            "--address", "local",
        ),
        capture_output=True, text=True, timeout=300, check=False,
        env={**environment, "TMPDIR": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"do not fit below {folder} (TMPDIR)" in done.stderr
    assert set(Path("/tmp").glob("ray-*")) == before


def heed_ctrl_c() -> None:
    """In a new process: heed Ctrl-C, even if these tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_on_a_terminal(cluster: Cluster, tars: Path, run: Run) -> None:
    ours, theirs = pty.openpty()
    arguments = program(*run.mining(tars, "--workers", 1, "--address", cluster.address))
    with subprocess.Popen(
        arguments, stdout=theirs, stderr=theirs, preexec_fn=heed_ctrl_c
    ) as process:
        os.close(theirs)
        until(lambda: run.objects("heaps"), "a heap")
        process.send_signal(signal.SIGINT)
        seen = b""
        while True:
            try:
                seen += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert re.search(r"mining, parts .* [0-4]/5", text)
    assert text.splitlines()[-1] == "Stopped; the same command goes on from here."
    assert "Traceback" not in text


def test_ctrl_c_while_threads_are_at_work(pictures: Path, run: Run) -> None:
    """They cannot be ended, and torch aborts where Python ends under it."""
    net = ["--net", "vgg16", "--weights", "random:0"]
    with subprocess.Popen(
        program("mine", pictures, "--run", run.url, *net),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        preexec_fn=heed_ctrl_c,
    ) as process:
        until(lambda: Path(run.url, "run.json").exists(), "the run")
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "Stopped; the same command goes on from here."


@pytest.mark.parametrize("place", ["/atlas", "", "/"])
def test_serve(undisturbed: Run, place: str) -> None:
    """An atlas, or the run that it is of."""
    atlas = f"{undisturbed.url}/atlas"
    with subprocess.Popen(
        program("serve", f"{undisturbed.url}{place}", "--port", 0),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=heed_ctrl_c,
    ) as server:
        try:
            _look_around(server, Path(atlas))
            server.send_signal(signal.SIGINT)
            _, err = server.communicate(timeout=30)
        finally:
            server.kill()  # else the test waits for it as long as it lives
    assert server.returncode == 0
    assert not err


def _look_around(server: "subprocess.Popen[str]", atlas: Path) -> None:
    assert server.stdout is not None
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.read() == (atlas / "index.html").read_bytes()
    for wrong in ("nothing.html", "../run.json", "%2e%2e/run.json", "%00", "layers"):
        with pytest.raises(urllib.error.HTTPError) as missing:
            urllib.request.urlopen(url + wrong, timeout=30)
        assert missing.value.code == 404
        missing.value.close()


def test_serve_where_the_port_is_taken(
    undisturbed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command("serve", f"{undisturbed.url}/atlas", "--port", port, code=2)
    assert f"Port {port} cannot be used" in capsys.readouterr().err
