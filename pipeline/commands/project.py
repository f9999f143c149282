"""Stage 2, from a request to finished projections: checked first, then done."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict

from pydantic import TypeAdapter, ValidationError

from pipeline import schema
from pipeline.cluster import session
from pipeline.cluster import stages as cluster
from pipeline.commands.estimate import project_seconds
from pipeline.commands.report import reported
from pipeline.config import choose_projectable, say_opaque
from pipeline.core.projection.deconvnet import Unpooling
from pipeline.data.formats.dataset import Dataset, find_dataset
from pipeline.data.labels import load_labels
from pipeline.data.samples import Asked
from pipeline.data.store import Store
from pipeline.data.stored.listing import kept_listing
from pipeline.data.stored.progress import read_progress
from pipeline.errors import IncompleteError, RequestError
from pipeline.request import ProjectRequest
from pipeline.run import Run
from pipeline.schema import Pick
from pipeline.stages.compact import clear, compactions
from pipeline.stages.project import ProjectSettings
from pipeline.stages.waiting import Waiting, waiting
from pipeline.terminal import progress, span

log = logging.getLogger(__name__)

_BYTES, _BYTES_OF_ARRAYS = 4.5, 12.0
"""Of a pixel of a box: of both pictures of it as PNG, measured on photographs; and at most, of the
numbers beside them."""

_MUCH = 20e9
"""Bytes from which on there is a hint how to make it less."""

_SETTINGS = TypeAdapter(ProjectSettings)


def project_run(request: ProjectRequest) -> int:
    """Stage 2: project the winners and examples that have no projection yet.

    Returns:
        How many were projected now.

    Raises:
        RequestError: the run is not mined, has changed underneath, or was projected otherwise.
        IncompleteError: some could not be; the same request again does only those.
        NumericsError: an activation does not come out as it was mined.
    """
    run = Run(request.run, request.storage_options)
    opaque = {layer.name: layer.no_way_down for layer in run.spec.layers if layer.no_way_down}
    chosen = choose_projectable(run.layers, request.layers, "The run", opaque)
    if opaque and not request.layers:
        log.warning("Not projected: %s.", say_opaque(opaque, len(run.layers)))
    settings = ProjectSettings(request.unpooling, request.arrays)
    todo = {schema.WINNING: waiting(run.store, chosen, request.rank_limit)}
    if run.store.list(schema.EXAMPLES):  # runs of earlier versions have none
        todo[schema.EXEMPLARY] = waiting(run.store, chosen, pick=schema.EXEMPLARY)
    everything = Waiting.of(todo.values())
    _require_same_settings(run.store, settings)
    if everything.blocks:
        run.store.require_room("--run")
        run.store.sweep()
        if everything.units:
            _say_how_much(run, everything, settings, len(chosen))
        _project(run, todo, settings, request)
    for pick in todo:
        clear(run.store, chosen, pick)
    return everything.winners


def _say_how_much(run: Run, todo: Waiting, settings: ProjectSettings, layers: int) -> None:
    size = todo.pixels * (_BYTES + (_BYTES_OF_ARRAYS if settings.arrays else 0))
    less = ""
    if size > _MUCH:
        less = f" Fewer of these {layers} layers (--layers), or --rank-limit, make it less."
    mined = read_progress(run.store, "mine") if run.spec.precision == "exact" else None
    seconds = project_seconds(run.mined_net.graph, todo, mined) if mined is not None else None
    log.info(
        "%s winners and examples on %s images to project, about %.2g GB%s.%s",
        f"{todo.winners:,}", f"{todo.images:,}", size / 1e9,
        "" if seconds is None else f" and {span(seconds)} of one worker", less,
    )  # fmt: skip


def _project(
    run: Run, todo: Mapping[Pick, Waiting], settings: ProjectSettings, request: ProjectRequest
) -> None:
    dataset, everything = dataset_of(run, labelled=False), Waiting.of(todo.values())
    with session.connected(request.address, everything.images):
        session.seats(request)
        session.require_in_sight(run.store)
        run.store.write(schema.PROJECTION_SETTINGS, _SETTINGS.dump_json(settings))
        units = [(pick, unit) for pick, waits in todo.items() for unit in waits.units]
        if units:
            what = "projecting, winners and examples"
            with reported([run.store], "project", what, everything.winners) as report:
                for count in cluster.project(
                    run.net, run.layers, dataset, units, run.store, settings, request
                ):
                    report.advance(count)
        work = [
            each
            for pick, waits in todo.items()
            for each in compactions(run.store, waits.blocks, pick)
        ]
        with progress("sorting, files", len(work)) as advance:
            for _ in cluster.compact(run.store, work, request):
                advance(1)


def _require_same_settings(run: Store, settings: ProjectSettings) -> None:
    if not run.exists(schema.PROJECTION_SETTINGS):
        return
    made = _settings_of(run)
    for name, value in asdict(made).items():
        if value != getattr(settings, name):
            raise RequestError(
                f"{run.url} holds projections made with {name} = {value}, not "
                f"{getattr(settings, name)}; use the same, or remove {run.url}/projections and "
                f"{run.url}/{schema.PROJECTION_SETTINGS}."
            )


def unpooling_of(run: Store) -> Unpooling:
    """How the projections of a run are unpooled, or would be."""
    return _settings_of(run).unpooling if run.exists(schema.PROJECTION_SETTINGS) else "sum"


def _settings_of(run: Store) -> ProjectSettings:
    """How the projections of the run were made."""
    text = run.read(schema.PROJECTION_SETTINGS)
    try:
        made = _SETTINGS.validate_json(text)
        if asdict(made).keys() != json.loads(text).keys():
            raise ValueError("it has other fields")
    except ValueError as error:  # of pydantic too
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise IncompleteError(
            f"{run.url}/{schema.PROJECTION_SETTINGS} is damaged ({why}); "
            f"remove it and {run.url}/projections, and give the same command again."
        ) from error
    return made


def dataset_of(run: Run, *, labelled: bool = True) -> Dataset:
    """The dataset that a run was mined from; files that have come since are none of it.

    Args:
        run: the run.
        labelled: with the labels of their own file, if it has one; winners have theirs anyway.

    Raises:
        RequestError: it is not kept which files it has, and these are gone or have changed.
    """
    spec = run.spec
    options = run.store.options
    labels = load_labels(spec.labels, options) if labelled and spec.labels is not None else None
    if labels is not None and labels.digest != spec.labels_digest:
        raise RequestError(
            f"{labels.url} is not what {run.store.url} was mined with; put that back."
        )
    found = kept_listing(run.store, spec) or find_dataset(
        spec.data, format=spec.format, asked=Asked.by(spec), options=options
    )
    if found.fingerprint != spec.fingerprint:
        raise RequestError(
            f"{spec.data} is not what {run.store.url} was mined from: files were added, removed "
            "or changed; put them back, or mine into another --run."
        )
    return found.open(labels=labels)
