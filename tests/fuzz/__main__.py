"""`python -m tests.fuzz --cases 100000 --seed 0 --kinds tar,parquet`: try them, print findings."""

import argparse
import sys

from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import run


def main() -> int:
    """Exit status 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    arguments = parser.parse_args()
    found = 0
    for kind in arguments.kinds.split(","):
        cases = range(arguments.first, arguments.first + arguments.cases)
        report = run(kind, KINDS[kind], arguments.seed, cases)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes.items())
        print(f"{kind}: {counts}", flush=True)
        for case, finding in report.findings.items():
            print(f"--- {kind} {case}\n{finding}", flush=True)
        found += len(report.findings)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
