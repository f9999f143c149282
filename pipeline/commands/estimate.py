"""Before stage 2: about how long it will take, from what mining took and what there is to do."""

import pyarrow as pa
import pyarrow.compute as pc
import torch

from pipeline.core.graph.trace import Graph
from pipeline.core.projection.clipping import multiply_adds
from pipeline.core.projection.either_way import work_needed
from pipeline.data.stored.progress import Progress
from pipeline.stages.project import seeds_of
from pipeline.stages.waiting import Waiting, missing

_UNITS = 12
"""Units of work that stand for all."""

_SLOWER, _PER_WINNER = 3.0, 1.5e-3
"""A multiply-add of small windows takes so many times that of mining, and beside these each winner
so many seconds: fitted to AlexNet, ResNet-18 and the demo's net on one core, within a third."""

_PIXELS = 10e6
"""Pixels of boxes whose projection and patch one processor renders and encodes in a second."""


def project_seconds(graph: Graph, todo: Waiting, mined: Progress) -> float | None:
    """About how many seconds of one worker, as those that mined, what waits will take.

    Args:
        graph: the net with the layers that were mined.
        todo: what waits.
        mined: what mining took, of this net alone and in float32.

    Returns:
        None where mining does not tell.
    """
    took = mined.amounts
    if not mined.images or not took.get("net"):
        return None
    per_image = sum(took.get(what, 0.0) for what in ("reading", "decoding")) / mined.images
    whole = list(multiply_adds(graph).values())[-1]
    per_add = took["net"] / mined.images / whole * _SLOWER
    chosen = todo.units[:: max(1, len(todo.units) // _UNITS)]
    share = todo.winners / sum(map(missing, chosen))
    adds = share * sum(_multiply_adds(graph, unit) for unit in chosen)
    net = adds * per_add + todo.winners * _PER_WINNER
    return todo.images * per_image + net + todo.pixels / _PIXELS


def _multiply_adds(graph: Graph, unit: pa.Table) -> float:
    """Of a unit of work, up the net and down again."""
    images = pc.unique(unit["sample"])
    unit = unit.append_column("image", pc.index_in(unit["sample"], images))
    seeds = {
        name: seeds_of(unit.filter(pc.equal(unit["layer"], name)), torch.device("cpu"))
        for name in unit["layer"].unique().to_pylist()
    }
    return work_needed(graph, len(images), seeds)
