"""Correspondence: does a run's net know the same part in different pictures?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.table import Table

from pipeline import schema
from pipeline.atlas.experiments.correspondence import Summary, correspondence_page
from pipeline.atlas.occlusion.figure import run_caption
from pipeline.commands.experiments.gather import gathered, stored
from pipeline.commands.project import dataset_of
from pipeline.config import choose_layers
from pipeline.core.nets.known import Net
from pipeline.data.formats.dataset import Dataset
from pipeline.data.object_parts import RANDOM, WHOLE, read_object_parts
from pipeline.data.pictures import read_picture
from pipeline.data.stored.named import find_pictures
from pipeline.errors import RequestError
from pipeline.request import CorrespondenceRequest
from pipeline.run import Run
from pipeline.stages.experiments import correspondence
from pipeline.stages.experiments.correspondence import Hidden, Hiding
from pipeline.terminal import legible

_SHOWN = 5
"""Pictures in the figure, as in the paper's."""


def correspond(request: CorrespondenceRequest) -> tuple[list[str], Table]:
    """Hide parts of pictures, and tell how alike is what each layer loses.

    Returns:
        The names of what was stored in the run, and the paper's table 1.

    Raises:
        RequestError: there is no run, picture or layer, or the file of parts is none, or a part
            is in one picture alone.
        IncompleteError: some pictures could not be done.
    """
    run = Run(request.run, request.storage_options)
    layers = choose_layers(run.layers, request.layers, "The run")
    run.store.require_room("RUN")
    parted = read_object_parts(request.parts, request.storage_options)
    times = Counter(name for each in parted for name in each.parts if name != WHOLE)
    if not times or min(times.values()) == 1:
        alone = min(times, key=lambda name: times[name], default="nothing")
        raise RequestError(
            f"{request.parts} tells {alone} of {'no' if not times else 'one'} picture alone; "
            "correspondence is between pictures, so give the same parts of several."
        )
    dataset = dataset_of(run)
    wanted = find_pictures([each.image for each in parted], run.store, dataset)
    hidings = [
        Hiding(picture, each, request.draws, request.seed)
        for picture, each in zip(wanted, parted, strict=True)
    ]
    net = replace(run.net, graph=run.net.graph.only(layers))
    work = partial(correspondence.hide_unit, dataset=dataset)
    units = [[hiding] for hiding in hidings]
    found = list(chain(*gathered(net, units, work, request, "hiding parts, pictures")))
    order = {each.image: number for number, each in enumerate(parted)}
    found.sort(key=lambda hidden: (order[hidden.image], hidden.part == RANDOM, hidden.draw))
    table = correspondence.distances(net, found)
    run.store.write_table(schema.CORRESPONDENCE, table)
    summary = _summary(table, layers)
    pictures = _pictures(net, hidings[:_SHOWN], found, dataset)
    page = correspondence_page(summary, pictures, run_caption(run.spec), request.width)
    figures = stored(run.store, schema.experiment_figure("correspondence"), page, svg=request.svg)
    return [schema.CORRESPONDENCE, *figures], _as_table(summary, layers)


def _summary(distances: pa.Table, layers: Sequence[str]) -> Summary:
    """Of each part and layer, the mean and the standard deviation over the pairs."""
    pairs = distances.to_pandas().groupby(["part", "layer"])["distance"]
    means, deviations = pairs.mean(), pairs.std(ddof=0)
    return {
        part: {layer: (means[part, layer], deviations[part, layer]) for layer in layers}
        for part in distances["part"].unique().to_pylist()
    }


def _as_table(summary: Summary, layers: Sequence[str]) -> Table:
    table = Table("hidden", *map(legible, layers), box=None, pad_edge=False)
    for part, of_part in summary.items():
        found = [f"{mean:.3f} ± {std:.3f}" for mean, std in of_part.values()]
        table.add_row(legible(part), *found)
    return table


def _pictures(
    net: Net, hidings: Sequence[Hiding], found: Sequence[Hidden], dataset: Dataset
) -> list[tuple[str, list[tuple[str, NDArray[np.uint8]]]]]:
    """Some pictures to be looked at, as they are and without their parts."""
    shown = []
    grey = np.rint(255 * np.array(net.preprocessing.mean))
    for hiding in hidings:
        picture = read_picture(hiding.wanted, net.preprocessing, dataset)
        views = [("picture", picture.pixels)]
        for hidden in found:
            if hidden.image == hiding.parted.image and hidden.draw == 0:
                top, left, bottom, right = hidden.box
                pixels = picture.pixels.copy()
                pixels[top:bottom, left:right] = grey
                views.append((hidden.part, pixels))
        shown.append((picture.title, views))
    return shown
