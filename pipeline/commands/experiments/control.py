"""The control: how much of a run's projections is what the net has learned."""

from dataclasses import replace
from functools import partial

import pyarrow as pa

from pipeline import schema
from pipeline.atlas.experiments.control import control_page
from pipeline.atlas.occlusion.figure import run_caption
from pipeline.commands.experiments.gather import gathered, stored
from pipeline.commands.project import dataset_of, unpooling_of
from pipeline.config import choose_projectable
from pipeline.errors import RequestError
from pipeline.request import ControlRequest
from pipeline.run import Run
from pipeline.stages.experiments import control
from pipeline.stages.experiments.control import ControlSettings

_ORDER = [(name, "ascending") for name in ("layer", "feature_map", "rank", "layers_drawn")]


def control_run(request: ControlRequest) -> list[str]:
    """Project winners of a run through weights drawn anew, and tell how like they stay.

    Returns:
        The names of what was stored in the run.

    Raises:
        RequestError: there is no run, it is not mined, or its layers have no winners.
        IncompleteError: some could not be projected.
    """
    run = Run(request.run, request.storage_options)
    opaque = {layer.name: layer.no_way_down for layer in run.spec.layers if layer.no_way_down}
    layers = choose_projectable(run.layers, request.layers, "The run", opaque)
    run.store.require_room("RUN")
    winners = control.chosen_winners(run.store, layers, request.maps, request.rank_limit)
    if not len(winners):
        raise RequestError(
            f"No layer of {run.store.url} has a winner; there is nothing to project."
        )
    dataset = dataset_of(run, labelled=False)
    settings = ControlSettings(request.seed, unpooling_of(run.store))
    net = replace(run.net, graph=run.net.graph.only(layers))
    work = partial(control.control_unit, dataset=dataset, settings=settings)
    what = "projecting anew, winners"
    tables = gathered(net, control.units(winners), work, request, what)
    likenesses, pictures = (
        pa.concat_tables(part).sort_by(_ORDER) for part in zip(*tables, strict=True)
    )
    run.store.write_table(schema.LIKENESS, likenesses)
    run.store.write_table(schema.REDRAWN, pictures)
    page = control_page(
        likenesses.to_pandas(), pictures.to_pandas(), layers, run_caption(run.spec), request.width
    )
    figures = stored(run.store, schema.experiment_figure("control"), page, svg=request.svg)
    return [schema.LIKENESS, schema.REDRAWN, *figures]
