"""The figures that a run has, for the pages of an atlas: of single pictures, and the control."""

import io
from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from pipeline import schema
from pipeline.atlas.assets import Assets
from pipeline.data.store import Store
from pipeline.data.stored.tables import intact, read_table

_TABLE = pa.schema([schema.WINNER.field("sample")])

_WIDEST = 1800
"""Pixels: what a large screen shows; the run has the figures in full."""

_KINDS = {
    "explained": (schema.EXPLAIN, schema.EXPLAIN),
    "occluded": (schema.OCCLUSION_MAPS, schema.OCCLUSION_FIGURES),
}
"""What was done with a picture, and where its table and its figure are."""

Figures = dict[int, list[dict[str, str | int]]]
"""Sample → of each of its figures the kind, the file, and its size in pixels."""


def write_figures(assets: Assets, run: Store) -> Figures:
    """Write the figures of the run's own pictures; of others there are no pages.

    Raises:
        IncompleteError: a figure or its table is damaged.
    """
    figures: Figures = defaultdict(list)
    for kind, sample, name in _figures(run):
        file, (width, height) = _write(assets, run, name, f"figures/{sample}-{kind}.webp")
        figures[sample].append({"kind": kind, "file": file, "width": width, "height": height})
    return dict(figures)


def write_control(assets: Assets, run: Store) -> str:
    """Write the control's figure; its name, or "" where the run has none.

    Raises:
        IncompleteError: it is damaged.
    """
    name = f"{schema.experiment_figure('control')}.png"
    return _write(assets, run, name, "figures/control.webp")[0] if run.exists(name) else ""


def _write(assets: Assets, run: Store, name: str, to: str) -> tuple[str, tuple[int, int]]:
    """Write a figure as it is shown; its name, width and height."""
    picture = _opened(run, name)
    picture.thumbnail((_WIDEST, 8 * _WIDEST))
    sink = io.BytesIO()
    picture.save(sink, "WEBP", quality=85, method=2)
    return assets.write(to, sink.getvalue()), picture.size


def _opened(run: Store, name: str) -> Image.Image:
    data = run.read(name)
    with intact(run, name):
        try:
            return Image.open(io.BytesIO(data)).convert("RGB")
        except (UnidentifiedImageError, OSError) as error:  # Pillow's are not known for damage
            raise ValueError(str(error)) from error


def _figures(run: Store) -> Iterator[tuple[str, int, str]]:
    """Kind, sample and name of each."""
    for kind, (tables, drawn) in _KINDS.items():
        there = run.list(drawn)
        for table in (name for name in run.list(tables) if name.endswith(".parquet")):
            figure = f"{drawn}/{table.rpartition('/')[2].removesuffix('.parquet')}.png"
            if figure in there:
                samples = read_table(run, table, _TABLE, ["sample"])["sample"]
                if len(samples) and (sample := samples[0].as_py()) is not None:
                    yield kind, sample, figure
