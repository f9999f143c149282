"""How much room type takes, how to make it fit, and fonts for any script; millimetres, points."""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from matplotlib.font_manager import (
    FontProperties,
    findfont,
    findSystemFonts,
    fontManager,
    get_font,
)
from matplotlib.ft2font import FT2Font
from matplotlib.textpath import text_to_path

from pipeline.atlas.drawing.style import POINT

_FAMILY = "DejaVu Sans"
"""Comes with matplotlib, so figures look the same everywhere."""

_BOX = "□"
"""Stands for a character that no font has."""

_UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}
"""Unicode's categories of control characters and spaces."""

_BOXES = "Last Resort"
"""What fonts are called that have a box for every character, and nothing to read."""

LINE = 1.3
"""From line to line, in sizes of the type."""

_SMALLEST = 0.7  # of the size that was asked for
_ELLIPSIS = "…"


def leading(size: float) -> float:
    """Millimetres from line to line."""
    return size * POINT * LINE


def families(text: str) -> list[str]:
    """The fonts that a text is set in: one, and what is installed for what that one lacks."""
    lacking = _lacking(text)
    return [_FAMILY, *(_others(lacking)[0] if lacking else ())]


def unreadable(texts: Iterable[str]) -> str:
    """The characters of texts that no installed font has, each once, in order."""
    lacking = frozenset().union(*map(_lacking, texts))
    return "".join(sorted(_others(lacking)[1]))


def drawable(text: str) -> str:
    """The text with a box in place of each character that no installed font has.

    Matplotlib would draw one as well, but warn of each of them. What is not to be seen (tabs,
    joiners) is a space.
    """
    own = get_font(findfont(_FAMILY))
    unseen = (c for c in text if _is_unseen(c) and not own.get_char_index(ord(c)))
    boxes = dict.fromkeys(map(ord, unreadable([text])), _BOX)
    return text.translate(boxes | dict.fromkeys(map(ord, unseen), " "))


@lru_cache(maxsize=4096)
def _lacking(text: str) -> frozenset[str]:
    """The characters that are to be seen and that the usual font does not have."""
    own = get_font(findfont(_FAMILY))
    return frozenset(c for c in text if not _is_shown_by(own, c))


def _is_shown_by(font: FT2Font, character: str) -> bool:
    """Whether it has a sign for a character, or nothing of that is to be seen."""
    return _is_unseen(character) or font.get_char_index(ord(character)) != 0


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


@lru_cache(maxsize=256)
def _others(lacking: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Families with these characters, the best one first, and what none of them has."""
    having, chosen = _having(lacking), list[str]()
    while best := max(having, key=lambda name: len(lacking & having[name]), default=""):
        if not lacking & having[best]:
            break
        chosen.append(best)
        lacking -= having.pop(best)
    return chosen, lacking


def _having(characters: frozenset[str]) -> dict[str, set[str]]:
    """By family, by name, which of the characters it has."""
    known = {font.fname for font in fontManager.ttflist}
    for path in set(findSystemFonts()) - known:  # installed since matplotlib made its list
        with suppress(Exception):  # no font, or a broken one
            fontManager.addfont(path)
    having: dict[str, set[str]] = {}
    for font in sorted(fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        if font.style == "normal" and not font.name.startswith(_BOXES):
            with suppress(OSError, RuntimeError):  # it is gone, or broken
                opened = get_font(font.fname)
                shown = {c for c in characters if _is_shown_by(opened, c)}
                having.setdefault(font.name, set()).update(shown)
    return having


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Millimetres that a line takes."""
    font = FontProperties(family=families(text), weight="bold" if bold else "normal", size=100)
    width, _, _ = text_to_path.get_text_width_height_descent(drawable(text), font, ismath=False)
    return float(width) * POINT * size / 100


def fit(
    text: str, size: float, bold: bool, width: float, keep_end: bool = False
) -> tuple[str, float]:
    """The text and a size with which it takes at most `width`, shortened if need be."""
    needed = text_width(text, size, bold)
    if needed <= width:
        return text, size
    if needed * _SMALLEST <= width:
        return text, size * width / needed
    smallest = size * _SMALLEST
    fitting = bisect_right(
        range(1, len(text)),
        width,
        key=lambda length: text_width(_shortened(text, length, keep_end), smallest, bold),
    )
    return _shortened(text, max(1, fitting), keep_end), smallest


def _shortened(text: str, length: int, keep_end: bool) -> str:
    head = 0 if keep_end else (length + 1) // 2
    return text[:head] + _ELLIPSIS + text[len(text) - (length - head) :]


def broken(text: str, size: float, width: float) -> list[str]:
    """A paragraph as lines of at most `width`."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
