"""What of a store's errors is worth another try, and for how long."""

import aiohttp
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
)
from tenacity import wait_none

from pipeline.data.store import ShortError
from pipeline.data.store.patience import Patience, passes, status_of
from pipeline.errors import RequestError


def of_botocore(status: int) -> ClientError:
    answer = {"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")  # type: ignore[arg-type]


def of_http(status: int) -> aiohttp.ClientResponseError:
    return aiohttp.ClientResponseError(None, (), status=status)  # type: ignore[arg-type]


def because_of(cause: Exception) -> Exception:
    """As s3fs says that something is not found when the line broke."""
    error = FileNotFoundError("s3://bucket/a")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("made", [of_botocore, of_http])
def test_what_passes(made: type, status: int) -> None:
    error = made(status)
    assert status_of(error) == status
    assert passes(error)
    assert passes(because_of(error))


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 412, 416])
@pytest.mark.parametrize("made", [of_botocore, of_http])
def test_what_does_not(made: type, status: int) -> None:
    assert not passes(made(status))
    assert not passes(because_of(made(status)))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (ShortError("5 of 10 bytes came"), True),
        (aiohttp.ServerDisconnectedError(), True),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), True),
        (ReadTimeoutError(endpoint_url="http://127.0.0.1:9"), True),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (NoCredentialsError(), False),
        (RequestError("wrong"), False),
        (TypeError(), False),
    ],
)
def test_what_no_answer_came_to(error: Exception, expected: bool) -> None:
    assert passes(error) is expected


class Clock:
    """Seconds that pass when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("error", "answered", "seconds"),
    [
        (ConnectionRefusedError(), True, 600),
        (ConnectionRefusedError(), False, 20),  # perhaps the address is wrong
        (of_botocore(503), False, 600),  # it is there
    ],
)
def test_how_long_it_is_tried(
    error: Exception, answered: bool, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("tenacity.nap.time.sleep", clock.wait)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        Patience(str, on_disk=False, answered=answered)(fail, "it failed")
    assert seconds < clock.now <= seconds + 30


def test_who_has_answered_is_remembered() -> None:
    patience = Patience(str, on_disk=False)
    assert patience(lambda: 3, "it failed") == 3
    assert patience.answered


def test_a_disk_is_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.store.patience._PAUSES", wait_none())
    tries = []

    def fail() -> None:
        tries.append(1)
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        Patience(str, on_disk=True)(fail, "it failed")
    assert len(tries) == 3
