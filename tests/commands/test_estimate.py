"""About how long projecting will take."""

from pathlib import Path

import pytest

from pipeline.commands.estimate import project_seconds
from pipeline.data.stored.progress import Progress, now
from pipeline.stages.waiting import Waiting, waiting
from tests.stages import tiny

GRAPH = tiny.net_of(tiny.module()).graph


@pytest.fixture
def todo(tmp_path: Path) -> Waiting:
    tiny.write(tmp_path / "pictures", 300)
    return waiting(tiny.mined(tiny.opened(tmp_path / "pictures"), 60), ["first", "second"])


def took(**amounts: float) -> Progress:
    state = Progress(what="mining, parts", updated=now(), total=1)
    return state.model_copy(update={"images": 100, "amounts": amounts})


def seconds(todo: Waiting, **amounts: float) -> float:
    estimate = project_seconds(GRAPH, todo, took(**amounts))
    assert estimate is not None
    return estimate


def test_it_follows_from_what_mining_took(todo: Waiting) -> None:
    least = seconds(todo, net=1e-9)
    assert seconds(todo, net=1e-9, decoding=100.0) - least == pytest.approx(todo.images)
    slow, twice = (seconds(todo, net=amount) - least for amount in (100.0, 200.0))
    assert twice == pytest.approx(2 * slow)
    # a whole pass takes 1 s an image; no way costs more than one up, and one down for each winner
    assert 0 < slow < 3 * (todo.images + todo.winners)


def test_some_units_stand_for_all(todo: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(todo.units) > 1
    of_all = seconds(todo, net=100.0)
    monkeypatch.setattr("pipeline.commands.estimate._UNITS", 1)
    assert seconds(todo, net=100.0) == pytest.approx(of_all, rel=0.2)


def test_nothing_is_said_where_mining_does_not_tell(todo: Waiting) -> None:
    assert project_seconds(GRAPH, todo, took()) is None
    without = took(net=1.0).model_copy(update={"images": 0})
    assert project_seconds(GRAPH, todo, without) is None
