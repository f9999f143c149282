"""Numbers and texts as scripts."""

import json
import math
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


def adding(kind: str, key: str | int, value: Any) -> bytes:
    """A script that gives the pages a value of some kind."""
    return f"ATLAS.add({dump(kind)},{dump(key)},{dump(value)});\n".encode()


def dump(value: Any) -> str:
    """ASCII that may stand in a script and in a page."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")  # else a text could end the script that it is in


def short(values: Iterable[float]) -> list[float | None]:
    """Four digits are all that is shown."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values]
