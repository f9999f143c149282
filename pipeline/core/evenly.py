"""Some of many, evenly spaced."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_Item = TypeVar("_Item")


def evenly(items: Sequence[_Item], most: int) -> list[_Item]:
    """At most so many items, evenly spaced in their order; of two or more the first and the last.

    Args:
        items: any number, also none.
        most: at least 1.
    """
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[place] for place in places]
