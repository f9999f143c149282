"""Stage 2 in this process."""

from collections.abc import Sequence

from pipeline.core.nets.known import Net
from pipeline.data.formats.dataset import Dataset
from pipeline.data.store import Store
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
) -> int:
    """Do what is left to do; how many winners that were."""
    todo = waiting(run, layers, rank_limit)
    for unit in todo.units:
        assert project_unit(net, unit, dataset, run, settings or ProjectSettings()) == missing(unit)
    for work in compactions(run, todo.blocks):
        assert compact(run, work) == work.block
    clear(run, layers)
    return todo.winners
