"""What Ray's dashboard and Prometheus are told of a worker's work."""

from functools import cache
from typing import Any

from ray.util.metrics import Counter

from pipeline.data.effort import ACTIVITIES
from pipeline.stages.part import PartDone


@cache
def _counter(name: str, description: str, *tags: str) -> Any:
    return Counter(f"deconv_atlas_{name}", description, tag_keys=tags)


def count(result: object) -> None:
    """A unit of work is done; of a part that was mined there is something to tell."""
    if not isinstance(result, PartDone):
        return
    amounts = {
        _counter("images", "Images that were mined."): result.images,
        _counter("skipped", "Samples that could not be used."): result.skipped,
        _counter("bytes", "Bytes of pictures that were read."): result.effort.get("bytes", 0),
    }
    for counter, amount in amounts.items():
        if amount:
            counter.inc(amount)
    seconds = _counter("seconds", "Seconds that threads were at something.", "activity")
    for activity in ACTIVITIES:
        if result.effort.get(activity):
            seconds.inc(result.effort[activity], tags={"activity": activity})
