"""What the commands say and where: results on stdout, the rest on stderr."""

import logging
import sys

from rich.console import Console

_WIDE = 1000  # tables in a file or a pipe are never cut


def console(stderr: bool = False) -> Console:
    """Plain text: paths may hold brackets; lines are wrapped by the terminal or not at all."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(
        stderr=stderr, width=width, highlight=False, soft_wrap=True, markup=False, emoji=False
    )


class Lines(logging.Handler):
    """Plain lines on stderr as it is now: a progress bar takes its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        print(self.format(record), file=sys.stderr, flush=True)
