"""What `mine` says of the net and of the data, beyond what comes of them."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from pipeline.config import say_opaque
from pipeline.core.nets.known import Net
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Sample

log = logging.getLogger(__name__)

_MOST_SAID = 5
"""Remarks that are said; the others are counted."""

_FIRST = 16
"""Samples of which one tells whether labels have names."""


def say_remarks(lines: Sequence[str]) -> None:
    """The first of what workers have to say of the data, and how much more there is."""
    for line in lines[:_MOST_SAID]:
        log.warning("%s", line)
    if len(lines) > _MOST_SAID:
        log.warning("The same or the like holds of %d more parts.", len(lines) - _MOST_SAID)


def say_what_is_left_out(net: Net, layers: Sequence[str]) -> None:
    """Name the convolutions that are not mined, and the layers that cannot be projected."""
    for name, why in net.graph.left_out.items():
        log.warning("%s of %s is not mined: %s.", name, net.name, why)
    opaque = {name: what for name, what in net.graph.opaque.items() if name in layers}
    if opaque:
        log.warning("Mined, but not to be projected: %s.", say_opaque(opaque, len(layers)))


def say_unnamed(dataset: Dataset, net: Net) -> None:
    """One line where labels are mere numbers, which might be the net's classes or others."""
    first = _first_labelled(dataset)
    if net.categories and first and first.class_name in (None, str(first.label)):
        log.warning(
            "%s: its labels are numbers (of %s: %d), which may mean other classes than those of "
            "%s, so they get no names of the net's. --class-names net takes them for its classes, "
            "--class-names FILE names them, and --class-names none leaves out this line.",
            dataset.url, first.key, first.label, net.name,
        )  # fmt: skip


def _first_labelled(dataset: Dataset) -> Sample | None:
    """A sample with a label among the first few; None too where they cannot be read now."""
    with suppress(Exception):  # of whatever store: mining meets it again, and says so
        for sample in islice(dataset.read(dataset.parts()[0]), _FIRST):
            if sample.label is not None:
                return sample
    return None
