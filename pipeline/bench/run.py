"""How fast it all is here: ``deconv-atlas bench``.

Everything is compared within one run, interleaved and repeated, because machines drift: the
ratios hold where the times do not. Each of the ``sections`` is a module of its own.
"""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.table import Table

from pipeline.bench.order import Order
from pipeline.bench.printer import figure_data
from pipeline.bench.sections import (
    driver,
    gpu,
    heaps,
    memory,
    merging,
    mining,
    occlusion,
    precision,
    projection,
    scale,
    start,
    workers,
)
from pipeline.config import versions
from pipeline.core.nets import custom, known
from pipeline.errors import RequestError

NETS = ("alexnet", "vgg16", "resnet50")
SHORT_NETS = ("alexnet",)

_MODULES = (
    *(mining, start, workers, driver, scale, heaps),
    *(merging, memory, precision, projection, occlusion, gpu),
)
SECTIONS = {module.__name__.rpartition(".")[2]: module.measure for module in _MODULES}


def bench(
    data: str | None = None,
    nets: Sequence[str] = (),
    sections: Sequence[str] = (),
    repeats: int = 5,
    short: bool = False,
    json_file: Path | None = None,
) -> Iterator[Table]:
    """Measure section by section; yields a table as soon as it is there.

    What it takes are the options of ``deconv-atlas bench``; the file is written after each table.

    Raises:
        RequestError: an unknown net or section, no usable pictures, or no such place for the file.
    """
    sections = sections or _all_but_for_a_gpu_that_is_not_here()
    nets = nets or (SHORT_NETS if short else NETS)
    for name in sections:
        if name not in SECTIONS:
            raise RequestError(f"No section {name!r}; there are {', '.join(SECTIONS)}.")
    for name in nets:
        if not known.is_known(name) and not custom.is_custom(name):
            raise RequestError(f"No net {name!r}; deconv-atlas nets lists them.")
    about = {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "versions": versions(),
        "data": data or "generated",
        "repeats": repeats,
        "short": short,
    }
    report: dict[str, Any] = {"about": about, "sections": {name: [] for name in sections}}
    _write(json_file, report)
    with TemporaryDirectory() as folder:
        orders = [Order(net, repeats, short, data, Path(folder)) for net in nets]
        for name, order in product(sections, orders):
            for finding in SECTIONS[name](order):
                report["sections"][name].append(finding.data())
                _write(json_file, report)
                yield finding.table()


def _all_but_for_a_gpu_that_is_not_here() -> tuple[str, ...]:
    return tuple(name for name in SECTIONS if name != "gpu" or torch.cuda.is_available())


def _write(place: Path | None, report: dict[str, Any]) -> None:
    try:
        if place is not None:
            place.write_text(json.dumps(report, indent=2, default=figure_data))
    except OSError as error:
        raise RequestError(f"{place} cannot be written ({error.strerror}).") from error
