"""Everything this project raises on purpose.

AtlasError
├── RequestError        the request was wrong: exit 2, one sentence with the remedy
├── IncompleteError     the work could not be finished: exit 1, the same command goes on
│   ├── StoreError      a store did not answer, however often it was asked
│   │   └── WriteError  a result could not be stored; nothing half-written counts as done
│   └── MissingDataError  what was listed is not found, here or at all
├── SampleError         one sample cannot be used: recorded in ``skipped/``, the run goes on
│   ├── TooLargeError       it has more pixels than there may be
│   └── UnknownFormatError  it is no picture of a known format
└── NumericsError       the net returned something that cannot be ranked or does not reproduce

All of them pickle, since they travel between the processes of a cluster. Each is one line of what
a terminal can print, whatever the libraries and the damaged files say that are quoted in it.
"""

import re
from unicodedata import category

TRIES = 3
"""How often a unit of work, or a write, is tried when its process or its store fails."""

_MOST_SHOWN = 120


def one_line(text: str) -> str:
    """The same without line breaks, and without what is no character to be seen."""
    text = re.sub(r"\s*[\t\n\v\f\r\u2028\u2029]\s*", " ", text).strip()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or category(c) == "Zs" else "\ufffd" for c in text)


def first_line(error: BaseException) -> str:
    """What an error says, without its details; its name if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip(".")


def last_line(error: BaseException) -> str:
    """The end of what an error says, where that of another process is quoted."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(".")


def shown(text: str) -> str:
    """What is quoted from a file, which may be anything, cut to the length of a sentence."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} …"


class AtlasError(Exception):
    """Whatever this project raises on purpose; its text is a sentence for the user."""

    exit_code = 1

    def __init__(self, text: str = "") -> None:
        super().__init__(one_line(text))


class RequestError(AtlasError):
    """The request cannot be carried out as it stands; the text says how to mend it."""

    exit_code = 2


class IncompleteError(AtlasError):
    """Part of the work is missing; the text lists it, the same command does only that."""


class StoreError(IncompleteError):
    """A disk or an object store failed, and went on failing for as long as one can wait."""


class WriteError(StoreError):
    """A result could not be stored (full disk, lost bucket)."""


class MissingDataError(IncompleteError):
    """What the dataset's listing has is not found on this machine; another one may have it."""


class SampleError(AtlasError):
    """One sample cannot be used; the text is the reason that ``skipped/`` records."""


class TooLargeError(SampleError):
    """A picture with so many pixels that it is taken for a decompression bomb."""


class UnknownFormatError(SampleError):
    """No picture, or one of a format that is not read."""


class NumericsError(AtlasError):
    """A non-finite activation, or one that the second stage does not reproduce."""
