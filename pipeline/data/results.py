"""The projections of chosen feature maps of a run, and which maps and layers to choose."""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.data.store import Store


class _Layer(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def receptive_field(self) -> "_Field": ...


class _Field(Protocol):
    @property
    def size(self) -> tuple[int, int]: ...


_L = TypeVar("_L", bound=_Layer)


def read_projections(
    run: Store, layer: str, maps: Collection[int], ranks: int | None = None
) -> pd.DataFrame:
    """The projections of some feature maps of a layer, by map and rank.

    Only the files that hold one of them are read as a whole.

    Args:
        run: where they are.
        layer: one of the run's.
        maps: feature maps; one that has no projection (yet) has no rows.
        ranks: only up to this one.
    """
    wanted = pa.array(sorted(maps), pa.int32())
    tables = [schema.PROJECTION.empty_table()]
    for name in run.list(f"{schema.PROJECTIONS}/layer={layer}"):
        keys = run.read_table(name, ["feature_map", "rank"])
        here = pc.is_in(keys["feature_map"], wanted)
        if ranks is not None:
            here = pc.and_(here, pc.less_equal(keys["rank"], ranks))
        if pc.any(here).as_py():
            tables.append(run.read_table(name).filter(here))
    # files made with --arrays have a column more
    rows: pd.DataFrame = pa.concat_tables(tables, promote_options="default").to_pandas()
    return rows.sort_values(["feature_map", "rank"], ignore_index=True)


def spread_by_depth(layers: Sequence[_L], most: int) -> list[_L]:
    """At most so many layers, spread evenly over the size of the receptive field.

    The first and the last layer are always among them; of layers with equal receptive fields the
    last one stands for all. A net with few layers is shown whole.

    Args:
        layers: in the order of the forward pass.
        most: at least 2.
    """
    if len(layers) <= most:
        return list(layers)
    last_of_size = {layer.receptive_field.size[0]: n for n, layer in enumerate(layers)}
    candidates = sorted({*last_of_size.values(), len(layers) - 1})
    sizes = [layers[n].receptive_field.size[0] for n in candidates]
    chosen = {candidates[0], candidates[-1]}
    for step in range(1, most - 1):
        target = sizes[0] + (sizes[-1] - sizes[0]) * step / (most - 1)
        free = [n for n in candidates if n not in chosen]
        if free:
            chosen.add(min(free, key=lambda n: abs(layers[n].receptive_field.size[0] - target)))
    return [layers[n] for n in sorted(chosen)]
