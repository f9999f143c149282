"""One policy for stores that fail: what may pass is tried again, with growing random pauses.

The stores' own clients try again a few times within seconds; this is what comes after.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from pipeline.errors import TRIES, AtlasError

OUTAGE = 600.0
"""Seconds for which a store that has answered before is tried again: a run of many hours must
outlive an outage of some minutes."""

FIRST = 20.0
"""The same of one that never has: then the address may be wrong, and somebody waits."""

_DAMAGED_TRIES = 5
"""How often an object is read that comes short or with a wrong checksum: after that, it is so."""

_PAUSES = wait_random_exponential(multiplier=0.5, max=30.0)
"""At most 1 s, 2 s, 4 s … and from none on: those who failed together do not come back together."""

_PASSING = {408, 429, 500, 502, 503, 504}
"""Answers after which HTTP's clients may ask again."""

_FINAL = (
    AtlasError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError,
    PermissionError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError,
    ImportError,
)  # fmt: skip
_FINAL_ELSEWHERE = {
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError",
    "ParamValidationError",
}  # fmt: skip
"""Names of classes, of clients that may not be installed."""

_DAMAGED = {"ShortError", "FlexibleChecksumError", "ChecksumError"}
"""The same: ours, botocore's and gcsfs's."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class ShortError(OSError):
    """An object came shorter than it is, under an answer that says that all is well."""


def whole(data: bytes, size: int | None) -> bytes:
    """The same bytes, if they are as many as they should be.

    Raises:
        ShortError: they are fewer.
    """
    if size is not None and len(data) < size:
        raise ShortError(f"{len(data)} of {size} bytes came")
    return data


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error of whatever client stands for; None without an answer."""
    for cause in _causes(error):
        response: Any = getattr(cause, "response", None)
        if isinstance(response, dict):  # of botocore
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
        for holder in (cause, response):  # of aiohttp, Azure's client and gcsfs; of httpx
            for name in ("status", "status_code", "code"):
                value = getattr(holder, name, None)
                if isinstance(value, int) and 100 <= value < 600:
                    return value
    return None


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed later, unlike one for what is not there."""
    status = status_of(error)
    if status is not None:
        return status in _PASSING
    root = list(_causes(error))[-1]  # some say "not found" of a connection that broke
    named = {kind.__name__ for kind in type(root).__mro__}
    return not isinstance(root, _FINAL) and not named & _FINAL_ELSEWHERE


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


class Patience:
    """How long one store is waited for.

    Args:
        reason: what an error says, without secrets.
        on_disk: whether it is a disk, which is given some seconds and no more.
        answered: whether it has ever answered.
    """

    def __init__(
        self, reason: Callable[[BaseException], str], on_disk: bool, answered: bool = False
    ) -> None:
        self.answered = answered
        self._reason, self._on_disk = reason, on_disk

    def __call__(self, call: Callable[[], T], what: str) -> T:
        """What `call` returns, tried again while it fails with what may pass.

        Args:
            call: to the store.
            what: fails, for the log.

        Raises:
            Exception: the last one of `call`, as it is.
        """

        def say(state: RetryCallState) -> None:
            if state.attempt_number == TRIES - 1:  # the first may be chance
                log.warning("%s (%s); it is tried again.", what, self._reason(_error(state)))

        damaged: list[BaseException] = []

        def enough(state: RetryCallState) -> bool:
            if type(error := _error(state)).__name__ in _DAMAGED:
                damaged.append(error)
            return len(damaged) >= _DAMAGED_TRIES or self._is_enough(state)

        retrying = Retrying(
            stop=enough,
            wait=_PAUSES,
            retry=retry_if_exception(passes),
            before_sleep=say,
            reraise=True,
        )
        result = retrying(call)
        self.answered = True
        return result

    def _is_enough(self, state: RetryCallState) -> bool:
        error = _error(state)
        if self._on_disk:
            return state.attempt_number >= TRIES
        is_there = self.answered or status_of(error) is not None
        return (state.seconds_since_start or 0.0) > (OUTAGE if is_there else FIRST)


def _error(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None
    return error
