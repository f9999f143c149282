"""Stage 2 in this process."""

from collections.abc import Sequence

from pipeline.core.nets.known import Net
from pipeline.data.formats.dataset import Dataset
from pipeline.data.store import Store
from pipeline.schema import WINNING, Pick
from pipeline.stages.compact import clear, compact, compactions
from pipeline.stages.project import ProjectSettings, project_unit
from pipeline.stages.waiting import missing, waiting


def project(
    run: Store,
    net: Net,
    dataset: Dataset,
    layers: Sequence[str],
    rank_limit: int | None = None,
    settings: ProjectSettings | None = None,
    pick: Pick = WINNING,
) -> int:
    """Do what is left to do; how many winners or examples that were."""
    todo = waiting(run, layers, rank_limit, pick)
    how = settings or ProjectSettings()
    for unit in todo.units:
        assert project_unit(net, unit, dataset, run, how, pick) == missing(unit)
    for work in compactions(run, todo.blocks, pick):
        assert compact(run, work) == work.block
    clear(run, layers, pick)
    return todo.winners
