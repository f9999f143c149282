"""A process's end in the middle, within one process."""

from collections.abc import Callable

import pytest

from pipeline.data.store import Store


class KilledError(BaseException):
    """In place of a process's end."""


def kill_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """From now on so many writes and removals in a store succeed, and the next one is the end."""
    left = [steps]

    def dying(call: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: object, **options: object) -> None:
            if not left[0]:
                raise KilledError
            left[0] -= 1
            call(*arguments, **options)

        return counted

    for name in ("write", "remove"):
        patch.setattr(Store, name, dying(getattr(Store, name)))
