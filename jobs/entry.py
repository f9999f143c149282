"""What the jobs have in common: a command, and an exit status that outlives Ray's own."""

import sys

from pipeline.cli.app import main

_PROGRAM = "ray job submit --working-dir . -- python -m jobs.{}"
_MEANING = {
    1: "incomplete; the same job does the rest",
    2: "the request was wrong; the same job would fail again",
}


def run(command: str) -> None:
    """A command of `deconv-atlas`, with the arguments of this process.

    `ray job submit` makes 1 of every exit status but 0, so the last line of the log, which Ray
    keeps as the job's message, says which one it was.
    """
    try:
        main([command, *sys.argv[1:]], _PROGRAM)
    except SystemExit as end:
        if end.code in _MEANING:
            print(f"Exit status {end.code}: {_MEANING[end.code]}.", file=sys.stderr, flush=True)
        raise
