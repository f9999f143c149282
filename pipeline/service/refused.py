"""Questions without an answer: what is sent instead."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from pipeline.errors import one_line, shown
from pipeline.service.answers import Fault, Refusal

_LINGERS = 1.0
"""Seconds that a line stays open after a refusal that came before the request's end: closed at
once, it would take the refusal with it while the other side is still sending."""


class Refused(Exception):  # noqa: N818
    """There is no answer.

    Args:
        refusal: why.
        is_over: whether the request was read to its end.
    """

    def __init__(self, refusal: Refusal, is_over: bool = True) -> None:
        super().__init__(refusal.error)
        self.refusal, self.is_over = refusal, is_over


def add_refusals(app: FastAPI) -> None:
    """Have an interface answer every error with a `Fault`."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _wrong)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    response = _fault(error.refusal.status, error.refusal.error)
    if error.is_over:
        return response
    response.headers["Connection"] = "close"  # what is left may be without end: it is not read
    return StreamingResponse(
        _lingering(bytes(response.body)), response.status_code, dict(response.headers)
    )


async def _wrong(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return _fault(404, f"There is nothing at {shown(request.url.path)}; see /ask/openapi.json.")
    return _fault(error.status_code, f"{error.detail}.")


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = error.errors()[0]
    return _fault(400, f"{wrong['loc'][-1]}: {wrong['msg']}; see /ask/openapi.json.")


async def _failed(_: Request, error: Exception) -> Response:
    return _fault(500, f"The service failed ({type(error).__name__}); its log tells more.")


async def _lingering(body: bytes) -> AsyncIterator[bytes]:
    yield body
    await asyncio.sleep(_LINGERS)


def _fault(status: int, text: str) -> Response:
    return JSONResponse(Fault(error=one_line(text)).model_dump(), status)
