"""The short form of the fuzzing: some hundred cases of each kind, always the same."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.kinds import KINDS
from tests.fuzz.mutation import mutated
from tests.fuzz.runner import dice_of, run
from tests.fuzz.traps import Traps

CASES = {"tar": 150, "parquet": 60, "picture": 150, "checkpoint": 60, "text": 100, "result": 10}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_whatever_a_file_is_like_it_is_used_recorded_or_refused(kind: str, tmp_path: Path) -> None:
    files = KINDS[kind](tmp_path)
    outcomes = {files.try_one(dice_of(0, kind, case)) for case in range(CASES[kind])}
    assert len(outcomes) > 1


def test_the_runner_finds_tracebacks_and_ends_and_goes_on() -> None:
    found = run("trap", Traps, 0, range(5)).findings
    numbers = [dice_of(0, "trap", case).randrange(3) for case in range(5)]
    assert {case for case in found if "a traceback" in found[case]} == {
        case for case, number in enumerate(numbers) if number == 0
    }
    assert {case for case in found if "crashed" in found[case]} == {
        case for case, number in enumerate(numbers) if number == 1
    }


def test_a_seed_gives_the_same_file() -> None:
    one, two = (mutated(b"abc" * 500, Random(4)) for _ in range(2))
    assert one == two
