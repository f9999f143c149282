"""Everything this project raises on purpose.

AtlasError
├── RequestError        the request was wrong: exit 2, one sentence with the remedy
├── IncompleteError     the work could not be finished: exit 1, the same command goes on
│   └── WriteError      a result could not be stored; nothing half-written counts as done
├── SampleError         one sample cannot be used: recorded in ``skipped/``, the run goes on
└── NumericsError       the net returned something that cannot be ranked or does not reproduce

All of them pickle, since they travel between the processes of a cluster.
"""

TRIES = 3
"""How often a unit of work, or a write, is tried when its process or its store fails."""


class AtlasError(Exception):
    """Whatever this project raises on purpose; its text is a sentence for the user."""

    exit_code = 1


class RequestError(AtlasError):
    """The request cannot be carried out as it stands; the text says how to mend it."""

    exit_code = 2


class IncompleteError(AtlasError):
    """Part of the work is missing; the text lists it, the same command does only that."""


class WriteError(IncompleteError):
    """A result could not be stored (full disk, lost bucket)."""


class SampleError(AtlasError):
    """One sample cannot be used; the text is the reason that ``skipped/`` records."""


class NumericsError(AtlasError):
    """A non-finite activation, or one that the second stage does not reproduce."""
