"""Small jobs, done by threads of this process behind the loop that leads a cluster."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.cluster import here, session, shift
from pipeline.cluster.crew import Job
from pipeline.cluster.seats import Seats
from pipeline.cluster.shift import bounded, watched
from pipeline.data.store import Store
from pipeline.errors import IncompleteError, MissingDataError, RequestError
from pipeline.request import Workforce
from tests.data.without_ray import in_this_process
from tests.killed import KilledError

TWO = Seats(2, cpus=1, gpus=0)


@pytest.fixture(autouse=True)
def at_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    in_this_process(monkeypatch)
    monkeypatch.setattr("pipeline.cluster.work._PAUSE", 0.0)
    with session.connected(pictures=10):
        yield


def test_units_are_done_at_the_same_time_with_what_was_prepared_once() -> None:
    prepared, meeting = [], threading.Barrier(2, timeout=10)

    def prepare(device: str) -> str:
        prepared.append(device)
        return device

    def do(device: str, unit: int) -> str:
        meeting.wait()
        assert torch.get_num_threads() == 1
        return f"{unit} on {device}"

    before = torch.get_num_threads()
    done = list(bounded(Job(prepare, do), range(10), TWO, "work", str))
    assert sorted(done) == [f"{unit} on cpu" for unit in range(10)]
    assert prepared == ["cpu"]
    session.dismiss()
    assert torch.get_num_threads() == before


def test_what_fails_is_tried_again_and_named_in_the_end() -> None:
    tries: Counter[int] = Counter()

    def do(_: None, unit: int) -> int:
        tries[unit] += 1
        if unit == 3 or (unit == 5 and tries[unit] < 3):
            raise OSError("no luck")
        if unit == 7:
            raise MissingDataError("it is not found.")
        return unit

    done, seen = [], []

    def work() -> None:
        job: Job[None, int, int] = Job(lambda _: None, do)
        with watched(lambda workers, failures: seen.append((workers, failures))):
            done.extend(bounded(job, range(10), TWO, "work", str))

    with pytest.raises(IncompleteError, match=r"Not done: 3 \(no luck\), 7 \(it is not found\)"):
        work()
    assert sorted(done) == [0, 1, 2, 4, 5, 6, 8, 9]
    assert tries == {**dict.fromkeys(range(10), 1), 3: 3, 5: 3, 7: 3}
    assert seen[-1] == (2, 7)  # before the last of them


@pytest.mark.parametrize("error", [RequestError("it is wrong"), KilledError()])
def test_what_ends_the_loop(error: BaseException) -> None:
    def do(_: None, unit: int) -> int:
        if unit == 4:
            raise error
        return unit

    with pytest.raises(type(error)):
        list(bounded(Job(lambda _: None, do), range(10), TWO, "work", str))
    fine: Job[None, int, int] = Job(lambda _: None, lambda _, unit: unit)
    assert list(bounded(fine, [1], TWO, "work", str)) == [1]  # others take their places


def test_a_thread_that_hangs_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "_LEAST", 0.2)
    over, tries = threading.Event(), Counter[int]()

    def do(_: None, unit: int) -> int:
        tries[unit] += 1
        if tries[unit] == 1 and unit == 0:
            over.wait(60)
        return unit

    begun = time.monotonic()
    assert sorted(bounded(Job(lambda _: None, do), range(6), TWO, "work", str)) == [*range(6)]
    assert time.monotonic() - begun < 20
    assert here.is_at_work()
    over.set()
    while here.is_at_work():
        time.sleep(0.01)


def test_seats_are_those_of_this_machine() -> None:
    cores = len(os.sched_getaffinity(0))
    seat = session.seats(Workforce(gpus="none"))
    assert here.Threads(seat).size == cores
    assert here.Threads(session.seats(Workforce(workers=1, gpus="none"))).size == 1
    with pytest.raises(RequestError, match=f"ask for --workers {cores} or fewer"):
        session.seats(Workforce(workers=cores + 1, gpus="none"))
    with pytest.raises(RequestError, match="This machine has no 999 CPU"):
        session.seats(Workforce(cpus_per_worker=999, gpus="none"))


def test_a_folder_of_this_machine_is_in_sight(tmp_path: Path) -> None:
    session.require_in_sight(Store(tmp_path / "nothing"))


# --- who is asked -----------------------------------------------------------------------------

WHO = """
import sys
from pipeline.cluster import session
with session.connected({arguments}):
    with session.connected("nobody:1"):  # an inner block is one of the same place
        print("ray" in sys.modules, session.seats(session.Workforce(workers=1, gpus="none")))
"""


def who(arguments: str, **environment: str) -> str:
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", WHO.format(arguments=arguments)],
        capture_output=True, text=True, timeout=120, check=False, env={**own, **environment},
    )  # fmt: skip
    return done.stdout + done.stderr


def test_few_pictures_need_no_ray() -> None:
    assert who("pictures=25_000").startswith("False 1 CPU")


@pytest.mark.parametrize("arguments", ["pictures=25_001", "", "'local', pictures=1"])
def test_many_do_and_so_does_who_asks_for_it(arguments: str) -> None:
    assert who(arguments).startswith("True 1 CPU")


def test_a_process_of_a_cluster_works_there() -> None:
    assert "No Ray cluster answers at 127.0.0.1:9" in who("pictures=1", RAY_ADDRESS="127.0.0.1:9")
    assert "No Ray cluster answers at 127.0.0.1:9" in who("'127.0.0.1:9', pictures=1")
