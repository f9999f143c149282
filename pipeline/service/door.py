"""The HTTP interface: what may come in, and what goes out. The net itself is behind it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from pipeline.atlas.server import is_this_machine, reply
from pipeline.data.store import Store
from pipeline.errors import shown
from pipeline.service.answers import (
    About,
    Answer,
    Begun,
    Box,
    Fault,
    Hidden,
    Line,
    Places,
    Refusal,
    Shown,
)
from pipeline.service.pictures import MOST_BYTES
from pipeline.service.refused import Refused, add_refusals

_MOST_READ = 3 * MOST_BYTES
"""Of a body that is too large: who sends it hears so only at its end."""

_SLOWEST = 30.0
"""Seconds that a picture's file may take to arrive."""

_PATIENCE = 120.0
"""Seconds that an answer may take; a large net's projections of all layers are some ten."""

_MOST_MAPS = 32
"""Of each layer, in one answer."""

Watched = Sequence[tuple[str, int]]
"""Layer and number of feature maps."""

_MOST_DIGITS = 9
"""Of a feature map's number."""

Named = Annotated[
    str,
    Query(
        description="Where no picture is sent: the number, key or URL of a sample of the run's "
        "dataset; or what an earlier answer calls the picture, as long as it is remembered."
    ),
]

_Result = TypeVar("_Result")
_PICTURE = {
    "requestBody": {
        "description": "The file of a picture: JPEG, PNG, WebP, BMP, PPM or TIFF.",
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "No picture, or a question that makes no sense."},
    404: {"model": Fault, "description": "No such picture is remembered or in the dataset."},
    408: {"model": Fault, "description": "The picture took too long to arrive."},
    413: {"model": Fault, "description": "The picture has too many bytes or pixels."},
    415: {"model": Fault, "description": "No picture, or one of a format that is not read."},
    422: {"model": Fault, "description": "A damaged picture, or a layer or box that is none."},
    503: {"model": Fault, "description": "Too many ask at once; try again in a moment."},
}


class Behind(Protocol):
    """Where the net is. Every method may also refuse."""

    async def answer(self, shown: Shown, layers: Sequence[str], maps: int) -> Answer | Refusal:
        """What a picture excites; no layers are all."""

    async def hide(self, shown: Shown, box: Box, maps: Watched) -> Hidden | Refusal:
        """What hiding a box of it does."""

    def occlude(self, shown: Shown, layer: str | None) -> AsyncIterator[Begun | Places | Refusal]:
        """Its occlusion map."""


def make_app(about: About, atlas: Store | None, only_here: bool, behind: Behind) -> FastAPI:
    """The interface, below ``ask/``, and beside it the atlas.

    Args:
        about: the service.
        atlas: whose files are served too, if there is one.
        only_here: whether it is for this machine alone, and is to be called so: a page elsewhere
            could have a name of its own lead here.
        behind: where the net is.
    """
    app = FastAPI(
        title=f"Ask {about.net}",
        description="What a picture excites in a net, and what hiding a part of it does. Nothing "
        "of a picture is stored: it is in memory while it is asked about.",
        version="1",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/ask/openapi.json",
        dependencies=[Depends(_require_this_machine)] if only_here else [],
    )
    add_refusals(app)
    _add_questions(app, about, behind)
    if atlas is not None:
        _add_atlas(app, atlas)
    return app


def _add_questions(app: FastAPI, about: About, behind: Behind) -> None:
    @app.get("/ask/service")
    async def service() -> About:
        """The net, its layers, and the bounds."""
        return about

    @app.post("/ask/answer", responses=_FAULTS, openapi_extra=_PICTURE)
    async def answer(
        request: Request,
        picture: Named = "",
        layers: Annotated[list[str], Query(description="By default all.")] = [],  # noqa: B006
        maps: Annotated[int, Query(ge=1, le=_MOST_MAPS, description="Of each layer.")] = 3,
    ) -> Answer:
        """The strongest feature maps of each layer, and the most probable classes."""
        asked = await _shown(request, picture)
        return await _in_time(behind.answer(asked, layers, maps))

    @app.post("/ask/hidden", responses=_FAULTS, openapi_extra=_PICTURE)
    async def hidden(
        request: Request,
        box: Annotated[
            str, Query(description="top,left,bottom,right in pixels of the net's input.")
        ],
        picture: Named = "",
        maps: Annotated[
            list[str], Query(alias="map", description="Feature maps to watch, as conv5/12.")
        ] = [],  # noqa: B006
    ) -> Hidden:
        """What hiding a box of the picture does to classes and feature maps."""
        sides, watched = _box(box), [_map(text) for text in maps]
        asked = await _shown(request, picture)
        return await _in_time(behind.hide(asked, sides, watched))

    @app.post(
        "/ask/occlusion",
        openapi_extra=_PICTURE,
        response_class=StreamingResponse,
        responses=_FAULTS
        | {200: {"model": Line, "description": "Lines of JSON, one by one as they are computed."}},
    )
    async def occlusion(
        request: Request,
        picture: Named = "",
        layer: Annotated[
            str | None,
            Query(description="Whose strongest map is watched; by default the top one's."),
        ] = None,
    ) -> StreamingResponse:
        """A grey square slides over the picture: what is left of the class and the map."""
        lines = behind.occlude(await _shown(request, picture), layer)
        first = await _in_time(anext(lines))
        return StreamingResponse(_lines(first, lines), media_type="application/x-ndjson")


def _add_atlas(app: FastAPI, atlas: Store) -> None:
    @app.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def file(request: Request, path: str) -> Response:
        made = await asyncio.to_thread(reply, atlas, path, request.headers.get)
        body = b"" if request.method == "HEAD" else made.body
        return Response(body, made.status, made.headers)


async def _require_this_machine(request: Request) -> None:
    if not is_this_machine(request.headers.get("Host")):
        raise Refused(Refusal(421, "This service is for the machine that it runs on."))


# --- what comes in ----------------------------------------------------------------------------


async def _shown(request: Request, name: str) -> Shown:
    """The picture of a request.

    Raises:
        Refused: it has too many bytes, or they do not come.
    """
    size, data = 0, bytearray()
    if int(request.headers.get("Content-Length") or 0) > _MOST_READ:
        raise _too_large(is_over=False)
    try:
        async with asyncio.timeout(_SLOWEST):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _MOST_READ:
                    raise _too_large(is_over=False)
                if size <= MOST_BYTES:
                    data += chunk
    except TimeoutError as error:
        text = f"The picture did not arrive within {_SLOWEST:.0f} seconds; send a smaller one."
        raise Refused(Refusal(408, text), is_over=False) from error
    if size > MOST_BYTES:
        raise _too_large(is_over=True)
    return Shown(name, bytes(data))


def _too_large(is_over: bool) -> Refused:
    text = f"The picture's file has more than {MOST_BYTES >> 20} MB; send a smaller one."
    return Refused(Refusal(413, text), is_over)


def _box(text: str) -> Box:
    try:
        top, left, bottom, right = (int(part) for part in text.split(","))
    except ValueError as error:
        fault = f"A box is top,left,bottom,right in whole pixels, not {shown(text)!r}."
        raise Refused(Refusal(400, fault)) from error
    return top, left, bottom, right


def _map(text: str) -> tuple[str, int]:
    layer, _, number = text.rpartition("/")
    if not layer or not number.isdecimal() or len(number) > _MOST_DIGITS:
        fault = f"A feature map is a layer and a number, as conv5/12, not {shown(text)!r}."
        raise Refused(Refusal(400, fault))
    return layer, int(number)


# --- what goes out ----------------------------------------------------------------------------


async def _in_time(answer: Awaitable[_Result | Refusal]) -> _Result:
    """An answer.

    Raises:
        Refused: there is none.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            made = await answer
    except TimeoutError as error:
        raise Refused(Refusal(504, "The answer took too long; ask for fewer layers.")) from error
    if isinstance(made, Refusal):
        raise Refused(made)
    return made


async def _lines(first: BaseModel, more: AsyncIterator[BaseModel | Refusal]) -> AsyncIterator[str]:
    yield f"{first.model_dump_json()}\n"
    async for each in more:
        line = Fault(error=each.error) if isinstance(each, Refusal) else each
        yield f"{line.model_dump_json()}\n"
