"""Which machines mined a run: a part's file says it in its metadata.

Rows of like machines are the same to the last bit. Other instructions, another decoder or another
version add up in another order, so that last bits differ and near ties may change places.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline import schema
from pipeline.config import Machine, MinedBy, versions
from pipeline.data.jpeg import jpeg_decoder
from pipeline.data.store import Store

_AT_ONCE = 16  # footers under way at once
_CPUS = Path("/proc/cpuinfo")


@cache
def this_machine(device: torch.device, decoder: str = "") -> Machine:
    """This machine, as far as results may depend on it.

    Args:
        device: that the net runs on.
        decoder: of JPEGs; by default the one of this process.
    """
    instructions = torch.backends.cpu.get_cpu_capability()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")  # oneDNN, which convolves, has one of its own
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return Machine(
        device=f"{device.type} ({name})",
        instructions=f"{instructions}, oneDNN up to {limit}" if limit else instructions,
        decoder=decoder or str(jpeg_decoder()),
        versions=versions(),
    )


def _processor() -> str:
    """The CPU's model; its architecture where the system does not tell."""
    lines = _CPUS.read_text().splitlines() if _CPUS.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def machine_metadata(machine: Machine) -> dict[bytes, str]:
    """What the metadata of a file says of who made it."""
    return {schema.MACHINE: json.dumps(machine.model_dump(), sort_keys=True)}


def machines_of(run: Store, files: Sequence[str]) -> tuple[MinedBy, ...]:
    """Who made these files of a run, in the order of the first file of each.

    Files of versions that did not note it are left out.
    """

    def noted(name: str) -> bytes | None:
        # the merge says what is wrong with a file that is damaged or gone
        with suppress(pa.ArrowInvalid, FileNotFoundError), run.open(name) as stream:
            metadata: Mapping[bytes, bytes] = pq.read_schema(stream).metadata or {}
            return metadata.get(schema.MACHINE)
        return None

    made: dict[bytes, list[str]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, text in zip(files, pool.map(noted, files), strict=True):
            if text is not None:
                made.setdefault(text, []).append(name)
    return tuple(
        MinedBy(machine=Machine.model_validate_json(text), parts=len(names), first=names[0])
        for text, names in made.items()
    )


def unlike(mined_by: Sequence[MinedBy]) -> str | None:
    """What machines of a run differ in, in words; None where they are all alike."""
    if len(mined_by) <= 1:
        return None
    facts = [_facts(made.machine) for made in mined_by]
    names = dict.fromkeys(name for of_one in facts for name in of_one)
    differ = [name for name in names if len({of_one.get(name) for of_one in facts}) > 1]
    return "; ".join(
        f"{made.parts} part{'s' if made.parts > 1 else ''} from {made.first} on: "
        + ", ".join(f"{name} {of_one.get(name, 'unknown')}" for name in differ)
        for made, of_one in zip(mined_by, facts, strict=True)
    )


def _facts(machine: Machine) -> dict[str, str]:
    own = machine.model_dump(exclude={"versions"})
    return {**own, **machine.versions}
