"""What Ray's dashboard and Prometheus are told of a worker's work."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from ray.util.metrics import Counter

from pipeline.data.effort import ACTIVITIES


@cache
def _counter(name: str, description: str, *tags: str) -> Any:
    return Counter(f"deconv_atlas_{name}", description, tag_keys=tags)


def count(images: int, skipped: int, effort: Mapping[str, float]) -> None:
    """A part is mined.

    Args:
        images: of it.
        skipped: samples that could not be used.
        effort: that it took, as in `Effort.amounts`.
    """
    amounts = {
        _counter("images", "Images that were mined."): images,
        _counter("skipped", "Samples that could not be used."): skipped,
        _counter("bytes", "Bytes of pictures that were read."): effort.get("bytes", 0),
    }
    for counter, amount in amounts.items():
        if amount:
            counter.inc(amount)
    seconds = _counter("seconds", "Seconds that threads were at something.", "activity")
    for activity in ACTIVITIES:
        if effort.get(activity):
            seconds.inc(effort[activity], tags={"activity": activity})
