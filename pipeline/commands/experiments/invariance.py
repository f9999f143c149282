"""Invariance: what do a run's features bear, as pictures are moved, enlarged and turned?"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.atlas.experiments.invariance import invariance_page
from pipeline.atlas.occlusion.figure import run_caption
from pipeline.atlas.poster.choice import example_pictures
from pipeline.commands.experiments.gather import gathered, stored
from pipeline.commands.project import dataset_of
from pipeline.config import choose_layers
from pipeline.core.nets.known import Net
from pipeline.core.render import in_colour
from pipeline.core.transforms import TRANSFORMS, amounts, transformed
from pipeline.data.class_name_files import names_of_outputs
from pipeline.data.formats.dataset import Dataset
from pipeline.data.pictures import Wanted, read_picture
from pipeline.data.stored.named import find_pictures
from pipeline.request import InvarianceRequest
from pipeline.run import Run
from pipeline.stages.experiments.invariance import invariance_unit

_EXAMPLES = 5
"""Pictures, where none are named: as many as the paper has."""

_SHOWN = 6
_SHOWN_AT = 0.8
"""Of the way from the least to the largest amount: what pictures are shown by."""


def transform_pictures(request: InvarianceRequest) -> list[str]:
    """Transform pictures before a run's net, and tell how far their features go.

    Returns:
        The names of what was stored in the run.

    Raises:
        RequestError: there is no run, picture or layer, or a picture cannot be used.
        IncompleteError: some pictures could not be done.
    """
    run = Run(request.run, request.storage_options)
    layers = choose_layers(run.layers, request.layers, "The run")
    run.store.require_room("RUN")
    dataset = dataset_of(run)
    if request.images:
        wanted = find_pictures(request.images, run.store, dataset, lists=True)
    else:
        wanted = example_pictures(run.store, run.spec.layers[-1], _EXAMPLES)
    net = replace(run.net, graph=run.net.graph.only(layers))
    names = names_of_outputs(run.spec.class_names, net)
    work = partial(invariance_unit, dataset=dataset, names=names)
    units = [[picture] for picture in wanted]
    tables = gathered(net, units, work, request, "transforming, pictures")
    order = {picture.name: number for number, picture in enumerate(wanted)}
    tables.sort(key=lambda table: order[table["image"][0].as_py()])
    table = pa.concat_tables(tables)
    run.store.write_table(schema.INVARIANCE, table)
    page = invariance_page(
        table.to_pandas(),
        _pictures(net, wanted[:_SHOWN], dataset),
        (layers[0], layers[-1]),
        run_caption(run.spec),
        request.width,
    )
    return [
        schema.INVARIANCE,
        *stored(run.store, schema.experiment_figure("invariance"), page, svg=request.svg),
    ]


def _pictures(
    net: Net, wanted: Sequence[Wanted], dataset: Dataset
) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """By transform, some pictures as they look when it has gone far."""
    fill = [255 * value for value in net.preprocessing.mean]
    shown: dict[str, dict[str, NDArray[np.uint8]]] = {transform: {} for transform in TRANSFORMS}
    for asked in wanted:
        image = read_picture(asked, net.preprocessing, dataset).image
        for transform in TRANSFORMS:
            steps = amounts(transform, image.shape[1])
            amount = steps[int(_SHOWN_AT * (len(steps) - 1))]
            moved = in_colour(transformed(image, transform, amount, fill).numpy())
            shown[transform][asked.name] = np.ascontiguousarray(moved.transpose(1, 2, 0))
    return shown
