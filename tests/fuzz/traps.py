"""A kind that fails, for the test of the runner."""

from pathlib import Path
from random import Random

from tests.fuzz.mutation import Outcome


class Traps:
    """Of three cases one raises, one ends the process."""

    def __init__(self, _: Path) -> None:
        pass

    def try_one(self, dice: Random) -> Outcome:
        """No file at all."""
        number = dice.randrange(3)
        if number == 0:
            raise KeyError("a traceback")
        if number == 1:
            raise SystemExit(3)
        return Outcome.USABLE
