"""What a worker holds, without Ray."""

import weakref
from dataclasses import dataclass

import pytest

from pipeline.cluster.crew import Job
from pipeline.cluster.on_ray import worker as place
from pipeline.cluster.on_ray.worker import Worker


class Net:
    """Something large that refers to itself, as nets do."""

    def __init__(self, device: str) -> None:
        self.device, self.itself = device, self


@dataclass(frozen=True)
class Reference:
    """Of an object in Ray's store."""

    job: Job[Net, int, str]

    def hex(self) -> str:
        return str(id(self.job))


def test_a_worker_prepares_once_and_holds_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "settle", lambda: None)
    monkeypatch.setattr(place.ray, "get", lambda reference: reference.job)
    prepared: list[weakref.ref[Net]] = []

    def prepare(device: str) -> Net:
        assert all(net() is None for net in prepared), "the nets of an old job are still here"
        net = Net(device)
        prepared.append(weakref.ref(net))
        return net

    jobs = [
        Reference(Job(prepare, lambda net, unit: f"{unit} on {net.device}")),
        Reference(Job(prepare, lambda net, unit: f"{unit + 1} on {net.device}")),
    ]
    worker = Worker("cpu")
    assert [worker.do([jobs[0]], unit) for unit in (1, 2)] == ["1 on cpu", "2 on cpu"]
    assert len(prepared) == 1
    assert [worker.do([jobs[1]], unit) for unit in (1, 2)] == ["2 on cpu", "3 on cpu"]
    assert len(prepared) == 2
    assert worker.do([jobs[0]], 5) == "5 on cpu"
    assert len(prepared) == 3


def test_a_job_that_cannot_be_prepared_leaves_the_worker_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, "settle", lambda: None)
    monkeypatch.setattr(place.ray, "get", lambda reference: reference.job)

    def broken(device: str) -> Net:
        raise MemoryError(device)

    worker = Worker("cpu")
    good, bad = Reference(Job(Net, lambda net, unit: str(unit))), Reference(Job(broken, max))
    assert worker.do([good], 1) == "1"
    for _ in range(2):
        with pytest.raises(MemoryError):
            worker.do([bad], 1)
    assert worker.do([good], 2) == "2"
