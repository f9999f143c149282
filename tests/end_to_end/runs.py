"""Runs made by the command line, and their rows to compare."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cli.app import run_app
from pipeline.data.store import Store

TOP_K = 3
LAYERS = "conv1,conv3,conv5"
ORDER = ["layer", "feature_map", "rank"]


def command(*arguments: object, code: int = 0) -> None:
    """A command in this process; its exit code is checked."""
    assert run_app([str(argument) for argument in arguments]) == code


def program(*arguments: object) -> list[str]:
    """The same as a program of its own."""
    return [sys.executable, "-m", "pipeline.cli.app", *map(str, arguments)]


def finished(
    *arguments: object, cwd: Path | None = None, limit: float = 300
) -> "subprocess.CompletedProcess[str]":
    """The program, run to its end."""
    return subprocess.run(
        program(*arguments), capture_output=True, text=True, cwd=cwd, timeout=limit, check=False
    )


@dataclass(frozen=True)
class Run:
    """A run of the demo's net."""

    url: str

    def mining(self, data: object, *more: object) -> list[object]:
        """The arguments of `mine`."""
        net = ["--net", "demo", "--class-names", "net", "--layers", LAYERS]
        return ["mine", data, "--run", self.url, *net, "--top-k", TOP_K, *more]

    def make(self, data: object, *more: object, workers: int = 2) -> None:
        """Mine and project."""
        command(*self.mining(data, "--workers", workers, *more))
        command(*self.projecting("--workers", workers))

    def projecting(self, *more: object) -> list[object]:
        """The arguments of `project`."""
        return ["project", "--run", self.url, "--arrays", *more]

    def winners(self) -> pd.DataFrame:
        return rows(f"{self.url}/winners")

    def projections(self) -> pd.DataFrame:
        return rows(f"{self.url}/projections")

    def feature_maps(self) -> pd.DataFrame:
        return pd.read_parquet(f"{self.url}/feature_maps.parquet")

    def skipped(self) -> pd.DataFrame:
        return pd.read_parquet(f"{self.url}/skipped")

    def objects(self, prefix: str) -> dict[str, int]:
        return Store(self.url).list(prefix)

    def identities(self, prefix: str) -> dict[str, tuple[int, int]]:
        """Inode and time of every file below `prefix`: whether they were written again."""
        status = {name: (Path(self.url) / name).stat() for name in self.objects(prefix)}
        return {name: (file.st_ino, file.st_mtime_ns) for name, file in status.items()}


def rows(url: str) -> pd.DataFrame:
    """A partitioned table in the order of layer, map and rank."""
    table = pd.read_parquet(url).astype({"layer": "str"})
    return table.sort_values(ORDER, ignore_index=True)


def assert_same_mined(run: Run, other: Run) -> None:
    """Both have the same winners and feature maps, to the last bit."""
    pd.testing.assert_frame_equal(run.winners(), other.winners(), check_exact=True)
    pd.testing.assert_frame_equal(run.feature_maps(), other.feature_maps(), check_exact=True)


def assert_same(run: Run, other: Run) -> None:
    """And the same projections, to the last byte of the pictures."""
    assert_same_mined(run, other)
    pd.testing.assert_frame_equal(run.projections(), other.projections(), check_exact=True)


def until(holds: Callable[[], object], what: str, seconds: float = 90) -> None:
    """Wait for something to happen."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            pytest.fail(f"waited in vain for {what}")
        time.sleep(0.02)
