"""What earlier atlases have left where one is, once those who read them are gone."""

import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from pipeline.data.store import Store, changed_at

_GRACE = timedelta(hours=1)
"""How long somebody may go on reading an atlas after another one took its place."""

_FOLDERS = ("classes", "data", "figures", "layers", "pictures", "viewer")
"""Where an atlas has its files; what else lies beside its index is somebody else's."""

log = logging.getLogger(__name__)


def prune(dest: Store, used: Collection[str]) -> int:
    """Remove what an atlas does not need.

    Args:
        dest: where it is.
        used: names of its files.

    Returns:
        How many files that were.

    Raises:
        WriteError: removing is not allowed.
    """
    old = datetime.now(UTC) - _GRACE
    names = [
        name
        for folder in _FOLDERS
        for name in dest.list(folder)
        if name not in used and (changed := changed_at(dest, name)) is not None and changed < old
    ]
    for name in names:
        dest.remove(name)
    if names:
        log.info("Removed %d files of earlier atlases from %s.", len(names), dest.url)
    return len(names)
