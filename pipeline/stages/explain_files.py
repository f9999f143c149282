"""Explaining many pictures: units of work, and the tables and figures that a run keeps of them."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from pipeline.atlas.drawing.page import FileFormat
from pipeline.atlas.drawing.style import place_name
from pipeline.atlas.explain.bands import Winners
from pipeline.atlas.explain.figure import MOST_LAYERS, explain_page
from pipeline.config import RunSpec
from pipeline.core.nets.known import Net
from pipeline.data.formats.dataset import Dataset
from pipeline.data.pictures import Made, Wanted, read_picture
from pipeline.data.results import read_projections, spread_by_depth
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.stages.explain import ExplainSettings, Explanation, explain, to_table

FOLDER = "explain"

_IMAGES_AT_ONCE = 8
_RANKS = 3


@dataclass(frozen=True)
class ExplainRequest:
    """What is made of each picture.

    Attributes:
        layers: to look at, all by default. The table has all of them; the figure up to
            `MOST_LAYERS`, spread evenly over the size of the receptive field.
        settings: how strong activations are found and projected.
        formats: of the figure; none makes tables only.
        caption: lines about the net and the run, below the figure's title.
        winners: whether the maps that are found also show their winners in the run.
    """

    layers: tuple[str, ...] | None = None
    settings: ExplainSettings = field(default_factory=ExplainSettings)
    formats: tuple[FileFormat, ...] = ("png", "pdf")
    caption: tuple[str, ...] = ()
    winners: bool = True


def units(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """The pictures cut into units of work, each one batch of the net."""
    starts = range(0, len(wanted), _IMAGES_AT_ONCE)
    return [list(wanted[at : at + _IMAGES_AT_ONCE]) for at in starts]


def explain_unit(
    net: Net,
    wanted: Sequence[Wanted],
    dataset: Dataset | None,
    run: Store,
    request: ExplainRequest,
) -> Made:
    """Explain one of `units`, and store a table and the figures of each picture.

    Args:
        net: on the device to use.
        wanted: the unit of work.
        dataset: the run's, for its samples.
        run: where the results go, and where the winners' projections are.
        request: what to make.

    Returns:
        What was stored, the table of each picture before its figures.

    Raises:
        RequestError: the net has no such layer.
        WriteError: a result could not be stored.
    """
    made, pictures = Made([], []), []
    for one in wanted:
        try:
            pictures.append(read_picture(one, net.preprocessing, dataset))
        except RequestError as error:
            made.unusable.append(str(error))
    for explanation in explain(net, pictures, request.layers, request.settings):
        name = file_name(explanation.picture.wanted, "parquet")
        run.write_table(name, to_table(explanation))
        made.stored.extend([name, *_figures(run, explanation, request)])
    return made


def _figures(run: Store, explanation: Explanation, request: ExplainRequest) -> list[str]:
    if not request.formats:
        return []
    shown = figure_layers(explanation)
    winners = found_winners(run, explanation, shown) if request.winners else None
    page = explain_page(explanation, shown, caption=request.caption, winners=winners)
    names = []
    for form in request.formats:
        names.append(file_name(explanation.picture.wanted, form))
        run.write(names[-1], page.save(form))
    return names


def figure_layers(explanation: Explanation) -> list[str]:
    """The layers that a figure shows: all, or as many as are readable, spread by depth."""
    return [layer.name for layer in spread_by_depth(explanation.layers, MOST_LAYERS)]


def found_winners(run: Store, explanation: Explanation, layers: Sequence[str]) -> Winners:
    """The run's first winners of the maps that were found, the picture itself left out."""
    wanted = {*layers, explanation.top}
    winners: dict[tuple[str, int], pd.DataFrame] = {}
    for layer in explanation.layers:
        maps = [one.feature_map for one in explanation.of(layer.name)]
        if not maps or layer.name not in wanted:
            continue
        # one more than is shown, in case the picture is itself a winner
        rows = read_projections(run, layer.name, maps, _RANKS + 1)
        others = rows[rows["sample"] != explanation.picture.wanted.sample]
        for feature_map, some in others.groupby("feature_map"):
            winners[layer.name, int(str(feature_map))] = some.head(_RANKS)
    return winners


def run_caption(spec: RunSpec, settings: ExplainSettings) -> tuple[str, ...]:
    """Net and run in a line each, as figures say it."""
    height, width = spec.preprocessing.input_size
    return (
        f"{spec.net}, weights {place_name(spec.weights)} ({spec.weights_digest[:8]}), "
        f"input {width}×{height}, unpooling: {settings.unpooling}",
        f"Winners: the run's top {spec.top_k} of {place_name(spec.data)}",
    )


def file_name(wanted: Wanted, extension: str) -> str:
    """Where a run keeps what was made of a picture."""
    return f"{FOLDER}/{file_stem(wanted)}.{extension}"


def file_stem(wanted: Wanted) -> str:
    """The name of a picture's files: readable, safe anywhere, and different for every picture."""
    identity = f"{wanted.located.shard}\0{wanted.name}" if wanted.located else wanted.name
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    last = wanted.name.rstrip("/").rpartition("/")[2].rpartition(".")
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", last[0] or last[2]).strip("-")[:60]
    return f"{readable or 'picture'}-{digest}"
