"""The service on Ray Serve: a door that takes requests, and behind it replicas that hold the net.

The door bounds what comes in and serves the atlas' files; what was asked of a replica that dies
goes to another.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import ray
import torch
from fastapi import FastAPI
from PIL import Image
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError
from ray.serve.schema import LoggingConfig

from pipeline.cluster.on_ray.connection import room
from pipeline.cluster.process import settle
from pipeline.cluster.seats import Seats
from pipeline.errors import TRIES, RequestError, first_line
from pipeline.service.answers import Answer, Begun, Box, Hidden, Places, Refusal, Shown
from pipeline.service.door import Behind, Watched
from pipeline.service.engine import Engine, Question
from pipeline.service.memory import Held
from pipeline.service.pictures import MOST_PIXELS, Pictures

_APP, _NET = "deconv-atlas", "net"

_BATCH = 8
"""Pictures that are answered together, at most."""

_AT_DOOR = 512
"""Requests that are let in at once; further ones wait outside."""

_AT_ONCE, _WAITING = 16, 64
"""Questions that a replica has begun, and that wait for one; more are refused at once."""

_TARGET, _DELAY = 1.5, 3.0
"""Questions begun, on the average of the replicas, beyond which there is to be one more, and the
seconds for which they must be. A hand that moves has two on their way."""

_BUSY = Refusal(503, "Too many ask at once; try again in a moment.")
_LOST = Refusal(503, "What was at work on the answer died; ask again.")

_Result = TypeVar("_Result")
MakeApp = Callable[[Behind], FastAPI]
MakeEngine = Callable[[str], tuple[Pictures, Engine]]
"""Given a device."""


class Replica:
    """A process that holds the net.

    Args:
        reference: to a `MakeEngine`, within a list, else Serve would put the net itself among its
            own records.
        device: to work on.
        threads: for the net.
    """

    def __init__(self, reference: Sequence[Any], device: str, threads: int) -> None:
        settle()
        torch.set_num_threads(threads)
        self._reading, self._computing = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # twice as many are refused
        make: MakeEngine = ray.get(reference[0])
        self.pictures, self.engine = make(device)

    async def answer(self, shown: Shown, layers: Sequence[str], maps: int) -> Answer | Refusal:
        """As `Behind` has it."""
        held = await self._find(shown)
        if isinstance(held, Refusal):
            return held
        answer: Answer | Refusal = await self._answers(Question(held, tuple(layers), maps))
        return answer

    async def _find(self, shown: Shown) -> Held | Refusal:
        return await _done_by(self._reading, self.pictures.find, shown)

    async def _by_net(self, do: Callable[..., _Result], *about: Any) -> _Result:
        """Done by the thread that has the net: several would share its cores, and all be late."""
        return await _done_by(self._computing, do, *about)

    @serve.batch(max_batch_size=_BATCH, batch_wait_timeout_s=0.002)
    async def _answers(self, questions: list[Question]) -> list[Answer | Refusal]:
        return await self._by_net(self.engine.answer, questions)

    async def hide(self, shown: Shown, box: Box, maps: Watched) -> Hidden | Refusal:
        """As `Behind` has it."""
        held = await self._find(shown)
        if isinstance(held, Refusal):
            return held
        return await self._by_net(self.engine.hide, held, box, maps)

    async def occlude(
        self, shown: Shown, layer: str | None
    ) -> AsyncIterator[Begun | Places | Refusal]:
        """As `Behind` has it."""
        held = await self._find(shown)
        if isinstance(held, Refusal):
            yield held
            return
        lines = self.engine.occlude(held, layer)
        while (line := await self._by_net(next, lines, None)) is not None:
            yield line


async def _done_by(thread: ThreadPoolExecutor, do: Callable[..., _Result], *about: Any) -> _Result:
    return await asyncio.get_running_loop().run_in_executor(thread, do, *about)


class Replicas:
    """The way from the door to whichever replica has time."""

    def __init__(self, net: Any) -> None:
        self._net = net

    async def answer(self, shown: Shown, layers: Sequence[str], maps: int) -> Answer | Refusal:
        """As `Behind` has it."""
        answer: Answer | Refusal = await self._ask("answer", shown, layers, maps)
        return answer

    async def hide(self, shown: Shown, box: Box, maps: Watched) -> Hidden | Refusal:
        """As `Behind` has it."""
        hidden: Hidden | Refusal = await self._ask("hide", shown, box, maps)
        return hidden

    async def _ask(self, what: str, *about: Any) -> Any:
        for _ in range(TRIES):
            try:
                return await getattr(self._net, what).remote(*about)
            except RayActorError:
                continue  # the replica died, and another has time
            except BackPressureError:
                return _BUSY
        return _LOST

    async def occlude(
        self, shown: Shown, layer: str | None
    ) -> AsyncIterator[Begun | Places | Refusal]:
        """As `Behind` has it; what has come of a replica that dies stays as it is."""
        lines = self._net.options(stream=True).occlude.remote(shown, layer)
        try:
            async for line in lines:
                yield line
        except RayActorError:
            yield _LOST
        except BackPressureError:
            yield _BUSY
        finally:
            lines.cancel()


@contextmanager
def served(
    make_app: MakeApp, make_engine: MakeEngine, seat: Seats, host: str, port: int
) -> Iterator[None]:
    """The service, for as long as the block lasts.

    Args:
        make_app: makes the door.
        make_engine: makes what answers, in each replica's process.
        seat: of each replica; as many come as are needed and have room.
        host: to listen on.
        port: likewise.

    Raises:
        RequestError: another service has the cluster, or this one cannot start.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    if running := serve.status().applications:
        raise RequestError(
            f"Ray Serve answers on this cluster already (application {min(running)}); end that "
            "(`serve shutdown`), or ask on another cluster."
        )
    quiet = LoggingConfig(log_level="ERROR", enable_access_log=False)

    def door() -> FastAPI:
        return make_app(Replicas(serve.get_deployment_handle(_NET, _APP)))

    try:
        serve.start("HeadOnly", {"host": host, "port": port}, logging_config=quiet)
        deployment = serve.deployment(
            name="door", ray_actor_options={"num_cpus": 0}, max_ongoing_requests=_AT_DOOR
        )
        app = deployment(serve.ingress(door)()).bind(_net(make_engine, seat))
        try:
            serve.run(app, name=_APP, route_prefix="/", logging_config=quiet)
        except Exception as error:  # Serve has no common one
            raise RequestError(f"The service does not start: {first_line(error)}.") from error
        yield
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]


def _net(make_engine: MakeEngine, seat: Seats) -> Application:
    """The replicas, not started yet."""
    most = seat.workers or max(1, room(seat))
    actor = {"num_cpus": seat.cpus, "num_gpus": seat.gpus}
    if seat.memory:
        actor["memory"] = seat.memory
    deployment = serve.deployment(
        name=_NET,
        ray_actor_options=actor,
        max_ongoing_requests=_AT_ONCE,
        max_queued_requests=_WAITING,
        autoscaling_config={
            "min_replicas": 1, "max_replicas": most,
            "target_ongoing_requests": _TARGET, "upscale_delay_s": _DELAY,
        },
    )(Replica)  # fmt: skip
    device = "cuda" if seat.gpus else "cpu"
    return deployment.bind([ray.put(make_engine)], device, max(1, int(seat.cpus)))
