"""What `ask` does: a service over a finished run, with its atlas beside it."""

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.util import find_spec

from pipeline.atlas.places import public_name
from pipeline.atlas.server import THIS_MACHINE, atlas_at
from pipeline.cluster.on_ray import connection, nodes
from pipeline.cluster.stages import anywhere
from pipeline.commands.project import dataset_of
from pipeline.config import RunSpec
from pipeline.core.nets.known import Net
from pipeline.core.nets.recipe import Recipe
from pipeline.data.class_name_files import names_of_outputs
from pipeline.data.class_names import ClassNames
from pipeline.data.store import Store
from pipeline.data.stored.named import Known
from pipeline.data.stored.results import read_feature_map_table
from pipeline.data.stored.standing import Standing
from pipeline.errors import RequestError
from pipeline.request import AskRequest
from pipeline.run import Run
from pipeline.service.answers import About, AboutLayer
from pipeline.service.engine import Engine
from pipeline.service.memory import REMEMBERED
from pipeline.service.pictures import MOST_BYTES, MOST_PIXELS, Pictures
from pipeline.terminal import waiting

log = logging.getLogger(__name__)


@contextmanager
def asked(request: AskRequest) -> Iterator[tuple[str, bool]]:
    """The service, for as long as the block lasts.

    Yields:
        Its address, and whether there is an atlas with the page to ask on.

    Raises:
        RequestError: there is no such run, it is not mined to its end, or the service cannot start.
    """
    if find_spec("fastapi") is None:
        raise RequestError("ask needs Ray Serve, which is not installed: pip install '.[ask]'.")
    run = Run(request.run, request.storage_options)
    store = anywhere(run.store)
    Standing(store, run.layers)  # here already, where its absence is told
    atlas = _atlas(run, request.atlas)
    if not request.address:
        _require_free(request.host, request.port)
    from pipeline.cluster.on_ray import serving  # seconds, for those who may have asked wrongly
    from pipeline.service.door import make_app

    net = run.mined_net
    make = partial(
        _engine,
        Recipe.of(net, run.layers, whole=True),
        store,
        run.spec,
        names_of_outputs(run.spec.class_names, net),
    )
    only_here = request.host in THIS_MACHINE
    app = partial(make_app, _about(run, net), atlas, only_here)
    with connection.connected(request.address):
        nodes.require_in_sight(store)
        with ExitStack() as ending:
            with waiting("Starting the service"):
                seat = connection.seats(request)
                service = serving.served(app, make, seat, request.host, request.port)
                ending.enter_context(service)
            host = "127.0.0.1" if only_here else request.host
            yield f"http://{host}:{request.port}/", atlas is not None


def _about(run: Run, net: Net) -> About:
    return About(
        net=net.name,
        dataset=public_name(run.spec.data),
        images=max(read_feature_map_table(run.store, ["images"])["images"].to_pylist()),
        layers=[
            AboutLayer(layer=layer.name, maps=layer.maps)
            for layer in run.spec.layers
            if not layer.no_way_down
        ],
        input=net.preprocessing.input_size,
        classes=net.classes,
        most_bytes=MOST_BYTES,
        most_pixels=MOST_PIXELS,
        remembered=REMEMBERED,
    )


def _engine(
    recipe: Recipe,
    run: Store,
    spec: RunSpec,
    names: ClassNames,
    device: str,
) -> tuple[Pictures, Engine]:
    """What answers, in a replica's process."""
    net = recipe.make(device)
    standing = Standing(run, [layer.name for layer in spec.layers])
    pictures = Pictures(net.preprocessing, spec.data, _known(run))
    return pictures, Engine(net, spec, standing, names)


def _known(run: Store) -> Known | None:
    """The run's samples, if its dataset is at hand; pictures of one's own can be without."""
    with suppress(RequestError):
        return Known.of(run, dataset_of(Run(run.url, run.options), labelled=False))
    return None


def _atlas(run: Run, place: str | None) -> Store | None:
    """The atlas to show beside the answers; None where there is none that was not asked for."""
    try:
        return anywhere(atlas_at(run.store.at(place) if place else run.store))
    except RequestError as error:
        if place:
            raise
        log.warning("%s Without it there is no page to ask on.", error)
        return None


def _require_free(host: str, port: int) -> None:
    """Refuse a port of this machine that cannot be listened on.

    Raises:
        RequestError: it cannot be.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except OSError as error:
        raise RequestError(
            f"{host} cannot be listened on at port {port} ({error.strerror or error}); choose "
            "another --port or --host."
        ) from error
