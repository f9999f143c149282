"""How fast it all is here: ``deconv-atlas bench``.

Everything is compared within one run, interleaved and repeated, because machines drift: the
ratios hold where the times do not. Each section is a module of its own, ``pipeline.bench``.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from rich.table import Table

from pipeline.bench import occlusion as bench_occlusion
from pipeline.bench import projection as bench_projection
from pipeline.bench.figures import Finding
from pipeline.bench.heaps import bench_heaps
from pipeline.bench.memory import bench_memory
from pipeline.bench.mining import bench_mining
from pipeline.bench.order import Order
from pipeline.bench.precision import bench_precision
from pipeline.bench.workers import bench_workers
from pipeline.config import versions
from pipeline.core.nets import custom, known
from pipeline.errors import RequestError
from pipeline.terminal import progress

NETS = ("alexnet", "vgg16", "resnet50")
SHORT_NETS = ("alexnet",)

_SHORT_REPEATS = 3  # of the sections that take long

Section = Callable[[Order], Iterator[Finding]]
_T = TypeVar("_T")


def _net_by_net(
    what: str,
    measure: Callable[[Sequence[str], int, bool], list[_T]],
    table: Callable[[Sequence[_T]], Table],
    to_json: Callable[[Sequence[_T]], str],
) -> Section:
    """A section that takes no pictures: nets, repeats and whether short in, figures out."""

    def section(order: Order) -> Iterator[Finding]:
        figures: list[_T] = []
        with progress(f"{what}, nets", len(order.nets)) as advance:
            for net in order.nets:
                repeats = min(order.repeats, _SHORT_REPEATS) if order.short else order.repeats
                figures += measure([net], repeats, order.short)
                advance(1)
        yield Finding(table(figures), {"figures": json.loads(to_json(figures))})

    return section


SECTIONS: dict[str, Section] = {
    "mining": bench_mining,
    "workers": bench_workers,
    "heaps": bench_heaps,
    "memory": bench_memory,
    "precision": bench_precision,
    "projection": _net_by_net(
        "projection",
        bench_projection.bench_projection,
        bench_projection.table,
        bench_projection.to_json,
    ),
    "occlusion": _net_by_net(
        "occlusion",
        bench_occlusion.bench_occlusion,
        bench_occlusion.table,
        bench_occlusion.to_json,
    ),
}
"""In the order of the report. A new one is its import and its line here."""


def bench(
    data: str | None = None,
    nets: Sequence[str] = (),
    sections: Sequence[str] = (),
    repeats: int = 5,
    short: bool = False,
    json_file: Path | None = None,
) -> Iterator[Table]:
    """Measure section by section; yields a table as soon as it is there.

    Args:
        data: pictures to use; None draws some at photograph size.
        nets: whose speed; empty means those of the project's claims.
        sections: of `SECTIONS`; empty means all.
        repeats: how often everything is measured.
        short: everything in its smallest honest form, within two minutes or so.
        json_file: where the figures go too, written anew after each table.

    Raises:
        RequestError: an unknown net or section, no usable pictures, or no such place for the file.
    """
    chosen = sections or tuple(SECTIONS)
    nets = tuple(nets or (SHORT_NETS if short else NETS))
    _check(chosen, nets)
    report: dict[str, Any] = {
        "about": _about(repeats, short, data),
        "sections": {name: [] for name in chosen},
    }
    _write(json_file, report)
    with TemporaryDirectory() as folder:
        order = Order(nets, repeats, short, data, Path(folder))
        for name in chosen:
            for finding in SECTIONS[name](order):
                report["sections"][name].append(finding.data)
                _write(json_file, report)
                yield finding.table


def _check(sections: Sequence[str], nets: Sequence[str]) -> None:
    for name in sections:
        if name not in SECTIONS:
            raise RequestError(f"No section {name!r}; there are {', '.join(SECTIONS)}.")
    for name in nets:
        if name not in known.names() and not custom.is_custom(name):
            raise RequestError(f"No net {name!r}; deconv-atlas nets lists them.")


def _about(repeats: int, short: bool, data: str | None) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "versions": versions(),
        "data": data or "generated",
        "repeats": repeats,
        "short": short,
    }


def _write(place: Path | None, report: dict[str, Any]) -> None:
    if place is None:
        return
    try:
        place.write_text(json.dumps(report, indent=2))
    except OSError as error:
        raise RequestError(f"{place} cannot be written ({error.strerror}).") from error
