"""Runs cases of a kind in a process of its own, so that a crash or a hang is a finding too."""

import logging
import multiprocessing
import os
import random
import resource
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from tests.fuzz.mutation import Outcome, require

SECONDS = 20.0
"""A case that takes longer hangs."""

MEMORY = 12 << 30
"""Bytes of addresses that a process may have; most of them are libraries'."""

_START = 120.0  # seconds for imports and the corpus


class Kind(Protocol):
    """Files of one kind."""

    def try_one(self, dice: random.Random) -> Outcome:
        """Make one case and use it.

        Raises:
            Exception: whatever it is, it is a finding.
        """


@dataclass
class Report:
    """What came of the cases of a kind.

    Attributes:
        outcomes: how many of each.
        findings: case number → what happened.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[int, str] = field(default_factory=dict)


def dice_of(seed: int, kind: str, case: int) -> random.Random:
    """What decides over a case, and nothing else does."""
    return random.Random(f"{seed} {kind} {case}")


def run(
    kind: str, make: Callable[[Path], Kind], seed: int, cases: range, most_findings: int = 50
) -> Report:
    """Try the cases of a kind; after a crash or a hang go on behind it."""
    report = Report()
    context = multiprocessing.get_context("spawn")
    while len(cases) and len(report.findings) < most_findings:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(theirs, kind, make, seed, cases))
        process.start()
        theirs.close()
        case = cases[0] - 1
        ended = "crashed"
        require(mine.poll(_START) and _has_begun(mine), f"{kind}: there is no corpus to start from")
        try:
            while True:
                if not mine.poll(SECONDS):
                    ended = f"hung for {SECONDS:.0f} seconds"
                    break
                case, outcome, finding = mine.recv()
                report.outcomes[outcome] += 1
                if finding:
                    report.findings[case] = finding
        except EOFError:
            pass
        process.join(0 if ended != "crashed" else _START)
        process.kill()
        process.join()
        case += 1
        cases = range(case, cases.stop)
        if len(cases):
            report.findings[case] = f"{ended} (exit code {process.exitcode})"
            report.outcomes["finding"] += 1
            cases = range(case + 1, cases.stop)
    return report


def _has_begun(mine: Connection) -> bool:
    try:
        return bool(mine.recv())
    except EOFError:
        return False


def _work(to: Connection, kind: str, make: Callable[[Path], Kind], seed: int, cases: range) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders in C talk there
    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder))
        to.send("begun")
        for case in cases:
            try:
                outcome, finding = str(files.try_one(dice_of(seed, kind, case))), ""
            except Exception:
                outcome, finding = "finding", traceback.format_exc()
            to.send((case, outcome, finding))
