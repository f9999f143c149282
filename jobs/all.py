"""All stages as one job: ``ray job submit … -- python -m jobs.all --config FILE``.

A stage that was incomplete, or whose process died, is run again here, on the same cluster: what
submits jobs sees 1 for every failure, and would try a wrong request again as well.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from pipeline.errors import TRIES

STAGES = ("mine", "project", "publish")

_ENDS = {0, 2, -signal.SIGTERM, signal.SIGTERM}
"""Done, a wrong request, stopped (Ray's driver then exits with 15): not to be tried again."""


def main() -> int:
    """Run the stages in turn; the exit status of the first that fails, else 0."""
    parser = argparse.ArgumentParser(prog="python -m jobs.all", description=__doc__)
    parser.add_argument("--config", required=True, help="A TOML file, with run, data and dest.")
    parser.add_argument("--pause", type=float, default=60, help="Seconds before another try.")
    options = parser.parse_args()
    for stage in STAGES:
        command = [sys.executable, "-m", f"jobs.{stage}", "--config", options.config]
        if status := attempted(command, options.pause):
            return status
    return 0


def attempted(command: Sequence[str], pause: float) -> int:
    """Run a command, again after `pause` seconds where that may help, `TRIES` times at most.

    Returns:
        0 (done), 1 (incomplete, or its process died), or 2 (the request was wrong).
    """
    status = 0
    for left in reversed(range(TRIES)):
        status = subprocess.run(command, check=False).returncode
        if status in _ENDS or not left:
            break
        print(f"Again in {pause:g} s, from where it stopped.", file=sys.stderr, flush=True)
        time.sleep(pause)
    return status if status in (0, 2) else 1


if __name__ == "__main__":
    sys.exit(main())
