"""The clocks of the harness of faults."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.soak.clocks import Clocks

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)


def test_a_clock_is_set_while_processes_go_by_it(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path)
    code = (
        "import sys, time\n"
        "for _ in sys.stdin:\n"
        "    begun = time.monotonic(); time.sleep(0.05)\n"
        "    print(time.time(), time.monotonic() - begun, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=clocks.variables("one"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for seconds in (0, 3000, -2000):
            clocks.set("one", seconds)
            clocks.set("another", 99999)
            process.stdin.write("\n")
            process.stdin.flush()
            told, slept = map(float, process.stdout.readline().split())
            assert told == pytest.approx(time.time() + seconds, abs=5)
            assert 0.05 <= slept < 5
        process.stdin.close()
