"""Units of work under any order of successes, failures and losses, without Ray."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster.work import Nodes, Unit, Work
from pipeline.errors import TRIES, MissingDataError

NODES = ("a", "b", "c")
ENDS = ("done", "failed", "missing", "lost", "copied")


def take(work: Work, node: str, now: float) -> Unit:
    unit = work.take(node, NODES, now)
    assert unit is not None
    return unit


@given(st.integers(0, 6), st.randoms(use_true_random=True))
def test_every_unit_is_done_once_or_given_up(count: int, chance: random.Random) -> None:
    """Whatever happens in whatever order, and with however many copies."""
    work = Work(range(count), str)
    under_way: list[tuple[str, Unit]] = []
    done, now, steps = Counter[str](), 0.0, 0
    while work.left:
        now, steps = now + 1000, steps + 1
        assert steps < 1000, "it does not end"
        node = chance.choice(NODES)
        unit = work.take(node, NODES, now)
        if unit is not None:
            under_way.append((node, unit))
        if not under_way:
            continue
        index = chance.randrange(len(under_way))
        node, unit = under_way[index]
        end = chance.choice(ENDS)
        if end == "copied" and unit.copies == 1:
            unit.copies += 1
            under_way.append((chance.choice(NODES), unit))
            continue
        del under_way[index]
        if end in ("done", "copied"):
            done[unit.name] += work.done(unit)
        elif end == "lost":
            work.lost(unit, "killed", now)
        else:
            error = MissingDataError("gone") if end == "missing" else OSError("no")
            work.failed(unit, node, NODES, error, "why", now)
    names = [text.split(" (")[0] for text in work.given_up]
    assert sorted([*done.elements(), *names]) == sorted(map(str, range(count)))
    assert work.waiting == 0


def test_what_failed_on_a_node_is_kept_for_the_others() -> None:
    work = Work([0], str)
    unit = take(work, "a", 0.0)
    assert work.failed(unit, "a", NODES, OSError(), "why", 0.0)
    assert work.take("b", NODES, 0.0) is None  # not at once
    assert work.take("a", NODES, 10.0) is None
    assert work.take("b", NODES, 10.0) is unit


def test_whoever_is_alone_tries_it_again() -> None:
    work = Work([0], str)
    for attempt in range(TRIES):
        unit = work.take("a", ["a"], 100.0 * attempt)
        assert unit is not None
        again = work.failed(unit, "a", ["a"], OSError(), "why", 100.0 * attempt)
        assert again is (attempt < TRIES - 1)
    assert work.given_up == ["0 (why)"]
    assert not work.left


def test_what_is_missing_is_looked_for_on_every_node() -> None:
    nodes = [f"node {index}" for index in range(2 * TRIES)]
    work = Work([0], str)
    for index, node in enumerate(nodes):
        unit = work.take(node, nodes, 1000.0 * index)
        assert unit is not None
        again = work.failed(unit, node, nodes, MissingDataError(""), "gone", 1000.0 * index)
        assert again is (node != nodes[-1])


def test_a_copy_that_fails_leaves_it_to_the_other() -> None:
    work = Work([0], str)
    unit = take(work, "a", 0.0)
    unit.copies += 1
    assert work.failed(unit, "b", NODES, OSError(), "why", 0.0)
    assert work.take("c", NODES, 100.0) is None
    assert work.done(unit)


@pytest.mark.parametrize("failures", range(1, 10))
def test_a_node_that_fails_in_a_row_rests_longer_each_time(failures: int) -> None:
    nodes, now = Nodes(), 0.0
    rests = []
    for _ in range(3 * failures):
        rest = nodes.failed("a", now)
        if rest is not None:
            rests.append(rest)
            assert nodes.open(["a", "b"], now) == {"b"}
            assert nodes.open(["a"], now) == {"a"}, "somebody has to do it"
            now += rest
            assert nodes.open(["a", "b"], now) == {"a", "b"}
    assert rests == [min(600.0, 30.0 * 2**index) for index in range(failures)]
    nodes.succeeded("a")
    assert nodes.failed("a", now) is None
