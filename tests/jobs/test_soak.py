"""The harness of faults: a short episode for real, and that it would notice a difference."""

import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pytest

from jobs.soak.compare import DifferenceError, require_same
from jobs.soak.service import KINDS, Faults
from pipeline import schema
from pipeline.data.store import Store

DRIVER_KILLED = 10  # a seed of few seconds: nodes, drivers and workers die, no head


@pytest.mark.skipif("SOAK" not in os.environ, reason="takes minutes; SOAK=1 runs it")
def test_an_episode() -> None:
    command = [sys.executable, "-m", "jobs.soak", "--seed", str(DRIVER_KILLED), "--minutes", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "0 rows different" in done.stdout
    for kind in ("driver killed", "request: reset", "request: 503"):
        assert kind in done.stdout


def test_faults_are_the_same_whatever_the_order() -> None:
    faults = Faults(seed=3, share=0.5)
    requests = [("GET", f"/bucket/{number}", before) for number in range(500) for before in (0, 1)]
    kinds = {request: faults.of(*request) for request in requests}
    assert kinds == {request: faults.of(*request) for request in reversed(requests)}
    share = sum(kind is not None for kind in kinds.values()) / len(kinds)
    assert share == pytest.approx(0.5, abs=0.06)
    assert Counter(kinds.values()).keys() == {None, *KINDS}


def rows(**columns: list[object]) -> pa.Table:
    return pa.table({"feature_map": [0, 1], "rank": [1, 1], **columns})


def a_run() -> Store:
    run = Store(f"memory://{uuid.uuid4().hex}")
    run.write_table("winners/layer=a/part-0.parquet", rows(activation=[1.0, 2.0]))
    run.write_table("projections/layer=a/0.parquet", rows(projection=[b"x", b"y"]))
    run.write_table("examples/layer=a/part-0.parquet", rows(quantile=[0.9, 0.9]))
    run.write_table("example_projections/layer=a/0.parquet", rows(projection=[b"x", b"y"]))
    run.write_table("distributions/layer=a/part-0.parquet", rows(lower=[0.5, 0.5]))
    run.write_table("classes/layer=a/part-0.parquet", rows(mean=[1.0, 2.0]))
    run.write_table(schema.FEATURE_MAPS, rows())
    run.write_table("skipped/part-0.parquet", pa.table({"shard": ["s"], "key": ["k"]}))
    run.write("heaps/part-0.parquet", b"")
    run.write("atlas/index.html", b"<p>")
    return run


def test_runs_that_are_alike() -> None:
    require_same(a_run(), a_run())


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.write_table("winners/layer=a/part-0.parquet", rows(activation=[1.0, 2.1])),
        lambda run: run.write_table("projections/layer=a/1.parquet", rows(projection=[b"x", b"y"])),
        lambda run: run.write("projections/layer=a/half", b""),
        lambda run: run.write_table("examples/layer=a/part-0.parquet", rows(quantile=[0.9, 0.5])),
        lambda run: run.write_table("classes/layer=a/part-0.parquet", rows(mean=[1.0, 2.1])),
        lambda run: run.write("statistics/part-0.parquet", b""),
        lambda run: run.write("projected/part-0.parquet", b""),
        lambda run: run.write("heaps/part-1.parquet", b""),
        lambda run: run.write("atlas/index.html", b"<b>"),
        lambda run: run.fs.rm(run.path("skipped"), recursive=True),
    ],
)
def test_a_difference_is_noticed(change: Callable[[Store], None]) -> None:
    one, other = a_run(), a_run()
    change(other)
    with pytest.raises(DifferenceError):
        require_same(one, other)
