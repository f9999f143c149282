"""Before a run: a look at every node, and what to mend."""

from collections.abc import Iterator, Mapping

from rich.table import Table

from pipeline.cluster.on_ray import connection
from pipeline.cluster.on_ray.nodes import asked_everywhere
from pipeline.config import versions
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store
from pipeline.errors import first_line
from pipeline.request import DoctorRequest
from pipeline.stages.examine import Examined, examine, trace
from pipeline.terminal import legible


def diagnosed(request: DoctorRequest) -> tuple[Table, list[str]]:
    """Every node in a row, and a sentence for all that is to be mended.

    Raises:
        RequestError: the data are not here, or no cluster answers.
        StoreError: a store does not answer.
    """
    dataset = open_dataset(request.data, format=request.format, options=request.storage_options)
    run = Store(request.run, request.storage_options)
    run.require_room("--run")
    table = Table("node", "data", "run", "GPUs", "versions", box=None, pad_edge=False)
    problems = []
    with connection.connected(request.address), trace(run) as name_seen:
        nodes = {node["NodeID"]: node for node in connection.alive()}
        said = asked_everywhere(examine, dataset, dataset.parts()[0], run, name_seen)
        for number, (node, record) in enumerate(nodes.items(), 1):
            name, answer = f"{number} ({record['NodeManagerHostname']})", said.get(node)
            if isinstance(answer, Examined):
                table.add_row(name, *_cells(answer))
                wrong = list(_wrong(answer, record["Resources"]))
            else:
                why = first_line(answer) if answer else "it does not answer"
                table.add_row(name, "?", "?", "?", "?")
                wrong = [f"it cannot run this program ({why})"]
            problems += [legible(f"Node {name}: {each}.") for each in wrong]
    return table, problems


def _cells(seen: Examined) -> tuple[str, ...]:
    return (
        "no" if seen.data else "yes",
        "no" if seen.run else "yes",
        ", ".join(seen.gpus) or "none",
        _other_versions(seen) or "as here",
    )


def _wrong(seen: Examined, resources: Mapping[str, float]) -> Iterator[str]:
    if seen.data:
        yield f"it cannot read the data ({seen.data.rstrip('.')})"
    if seen.run:
        yield f"it cannot write into the run ({seen.run.rstrip('.')})"
    if (promised := int(resources.get("GPU", 0))) > len(seen.gpus):
        yield f"Ray has {promised} GPUs there, torch {len(seen.gpus)}; look at its driver"
    if others := _other_versions(seen):
        yield f"it has {others}; use one image for all"


def _other_versions(seen: Examined) -> str:
    own = versions()
    return ", ".join(
        f"{name} {there} instead of {own[name]}"
        for name, there in seen.versions.items()
        if own[name] != there
    )
