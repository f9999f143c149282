"""Files made worse, and what may come of them."""

import random
from collections.abc import Callable, Sequence
from enum import StrEnum

_WORDS = (b"\0", b"\xff", b"\x80", b"\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")
_BLOCK = 512
_MOST_TEXT = 1200


class Outcome(StrEnum):
    """What may come of a file."""

    USABLE = "usable"
    SKIPPED = "recorded with a reason"
    REFUSED = "refused in a sentence"


class FoundError(AssertionError):
    """What must not come of a file."""


def require(condition: object, what: str) -> None:
    """Raise a `FoundError` unless the condition holds."""
    if not condition:
        raise FoundError(what)


def require_sentence(text: str, file: str = "") -> None:
    """A reason or an error is one line, not a page, and names the file."""
    require(text.strip(), "an empty reason")
    require(text.isprintable(), f"not one printable line: {text!r}")
    require(len(text) < _MOST_TEXT, f"{len(text)} characters: {text[:200]!r}")
    require(file in text, f"{file} is not named: {text!r}")


def mutated(data: bytes, dice: random.Random, corpus: Sequence[bytes] = ()) -> bytes:
    """The file with one to four changes; one in ten as it is."""
    if dice.random() < 0.1:
        return data
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        data = dice.choice(_CHANGES)(data, dice, corpus or (data,))
    return data


Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


def _flipped(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    within = dice.choice((len(data), min(len(data), 64), min(len(data), 1024)))
    for _ in range(dice.randint(1, 8) if within else 0):
        at = dice.randrange(within)
        changed[at if dice.random() < 0.5 else -1 - at] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: dice.randint(0, len(data))]


def _overwritten(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    word = dice.choice((*_WORDS, dice.randbytes(dice.randint(1, 16))))
    at = dice.randint(0, dice.choice((len(data), min(len(data), 200))))
    return data[:at] + word + data[at + len(word) :]


def _lengthened(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    at = dice.randint(0, len(data))
    return data[:at] + dice.randbytes(dice.randint(1, 700)) + data[at:]


def _shortened(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    at = dice.randint(0, len(data))
    return data[:at] + data[at + dice.randint(1, 700) :]


def _spliced(data: bytes, dice: random.Random, corpus: Sequence[bytes]) -> bytes:
    """A run of whole blocks of another file in place of some of its own."""
    other = dice.choice(corpus)
    start, at = (dice.randint(0, len(file) // _BLOCK) * _BLOCK for file in (other, data))
    length = dice.randint(1, 4) * _BLOCK
    return data[:at] + other[start : start + length] + data[at + dice.choice((0, length)) :]


_CHANGES: tuple[Change, ...] = (
    _flipped, _flipped, _cut, _overwritten, _overwritten, _lengthened, _shortened, _spliced,
)  # fmt: skip
