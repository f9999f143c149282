"""What a run holds, read back: what it is, winners, feature maps, projections, skipped samples."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from pipeline import schema
from pipeline.config import RunSpec
from pipeline.data.store import Store
from pipeline.errors import IncompleteError, RequestError

_READ_AHEAD = 8


def read_spec(run: Store) -> RunSpec:
    """What the run in a store is.

    Raises:
        RequestError: there is no run, or not one that this version reads.
    """
    try:
        text = run.read(schema.RUN)
    except FileNotFoundError as error:
        raise RequestError(
            f"There is no run at {run.url}; `deconv-atlas mine DATA --run {run.url}` makes one."
        ) from error
    try:
        return RunSpec.model_validate_json(text)
    except ValidationError as error:
        raise RequestError(
            f"{run.url}/{schema.RUN} cannot be read by this version: {error.errors()[0]['msg']}."
        ) from error


def is_mined(run: Store) -> bool:
    """Whether the run is mined to its end: the merge writes this object last."""
    return run.exists(schema.FEATURE_MAPS)


def require_mined(run: Store) -> None:
    """Refuse a run that is not mined to its end.

    Raises:
        RequestError: it is not.
    """
    if not is_mined(run):
        raise _not_mined(run)


def _not_mined(run: Store) -> RequestError:
    return RequestError(
        f"{run.url} is not mined to its end; give the same `deconv-atlas mine` command again."
    )


def _read_merged(run: Store, name: str, columns: Sequence[str] | None) -> pa.Table:
    try:
        return run.read_table(name, columns)
    except FileNotFoundError as error:
        raise _not_mined(run) from error


def read_feature_maps(run: Store) -> pd.DataFrame:
    """One row per feature map, with its statistics.

    Raises:
        RequestError: the run is not mined to its end.
    """
    frame: pd.DataFrame = _read_merged(run, schema.FEATURE_MAPS, None).to_pandas()
    return frame


def read_winners(run: Store, layer: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The winners of a layer by map and rank, or only some columns of them.

    Raises:
        RequestError: the run is not mined to its end.
    """
    return _read_merged(run, schema.winners_name(layer), columns)


def projection_files(run: Store, layer: str) -> dict[str, int]:
    """The files with projections of a layer, and how many bytes each one has."""
    files = run.list(schema.projections_folder(layer))
    return {name: size for name, size in files.items() if name.endswith(".parquet")}


def projected_maps(run: Store, layer: str) -> set[int]:
    """The feature maps of a layer that have projections."""
    tables = (run.read_table(name, ["feature_map"]) for name in projection_files(run, layer))
    return {number for table in tables for number in table["feature_map"].to_pylist()}


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
    for name in projection_files(run, layer):
        keys = run.read_table(name, ["feature_map", "rank"])
        here = pc.is_in(keys["feature_map"], wanted)
        if ranks is not None:
            here = pc.and_(here, pc.less_equal(keys["rank"], ranks))
        if pc.any(here).as_py():
            tables.append(run.read_table(name).filter(here))
    # files made with --arrays have a column more
    rows: pd.DataFrame = pa.concat_tables(tables, promote_options="default").to_pandas()
    return rows.sort_values(["feature_map", "rank"], ignore_index=True)


def read_skipped(run: Store) -> pd.DataFrame:
    """The samples that could not be used: shard, key and reason."""
    tables = [run.read_table(name) for name in run.list(schema.SKIPPED)]
    frame: pd.DataFrame = pa.concat_tables(
        [schema.SKIPPED_SAMPLE.empty_table(), *tables]
    ).to_pandas()
    return frame


def read_parts(
    run: Store, names: Sequence[str], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """What stage 1 stored of parts, in the order of the names, a few files read ahead.

    Raises:
        IncompleteError: one of them cannot be read.
    """

    def read(name: str) -> pa.Table:
        try:
            return run.read_table(name, columns)
        except (pa.ArrowInvalid, FileNotFoundError) as error:
            raise IncompleteError(
                f"{run.url}/{name} is damaged or gone ({error}); remove what is left of it and "
                "give the same command again."
            ) from error

    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        for first in range(0, len(names), _READ_AHEAD):
            yield from pool.map(read, names[first : first + _READ_AHEAD])
