"""What a run holds, read back: what it is, winners, feature maps, projections, skipped samples."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from pipeline import schema
from pipeline.config import RunSpec
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block
from pipeline.data.stored.tables import gone, intact, read_rows, read_table
from pipeline.errors import IncompleteError, RequestError
from pipeline.schema import WINNING, Pick

if TYPE_CHECKING:  # a quarter of a second for who only looks at a run
    import pandas as pd

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
    except OSError as error:
        raise RequestError(
            f"{run.url}/{schema.RUN} cannot be read ({error.strerror or error})."
        ) from error
    try:
        return RunSpec.model_validate_json(text)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = "".join(f"{part}: " for part in wrong["loc"])
        raise RequestError(
            f"{run.url}/{schema.RUN} cannot be read by this version ({where}{wrong['msg']}); "
            "put back what was there, or mine into another --run."
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


def _read_merged(
    run: Store, name: str, fields: pa.Schema, columns: Sequence[str] | None
) -> pa.Table:
    try:
        return read_table(run, name, fields, columns)
    except FileNotFoundError as error:
        raise (gone(run, name) if is_mined(run) else _not_mined(run)) from error


def read_feature_map_table(run: Store, columns: Sequence[str] | None = None) -> pa.Table:
    """One row per feature map, with its statistics, or only some columns of it.

    Raises:
        RequestError: the run is not mined to its end.
        IncompleteError: the table is damaged or gone.
    """
    table = _read_merged(run, schema.FEATURE_MAPS, schema.FEATURE_MAP, columns)
    with intact(run, schema.FEATURE_MAPS):
        if not len(table):
            raise ValueError("it has no rows")
    return table


def read_feature_maps(run: Store, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """The same as a data frame."""
    frame: pd.DataFrame = read_feature_map_table(run, columns).to_pandas()
    return frame


def read_winners(
    run: Store, layer: str, columns: Sequence[str] | None = None, pick: Pick = WINNING
) -> pa.Table:
    """The winners of a layer, or its examples, by map and rank, or only some columns of them.

    Raises:
        RequestError: the run is not mined to its end.
        IncompleteError: the table is damaged or gone.
    """
    return _read_merged(run, schema.of_layer(pick.rows, layer), schema.WINNER, columns)


def read_all_winners(run: Store, columns: Sequence[str]) -> pa.Table:
    """Some columns of the winners of all layers; no rows where none are stored yet.

    Raises:
        IncompleteError: a table is damaged.
    """
    names = _tables(run, schema.WINNERS)
    none = schema.WINNER.empty_table().select(columns)
    return pa.concat_tables([none, *(read_table(run, n, schema.WINNER, columns) for n in names)])


def _tables(run: Store, folder: str) -> dict[str, int]:
    return {name: size for name, size in run.list(folder).items() if name.endswith(".parquet")}


def all_blocks(run: Store, layer: str, pick: Pick = WINNING) -> dict[Block, int]:
    """The files with projections of a layer, and how many bytes each one has.

    Raises:
        IncompleteError: one of them is of another version.
    """
    blocks = {}
    for name, size in _tables(run, schema.projections_folder(layer, pick)).items():
        with intact(run, name):
            blocks[Block.named(layer, name, pick)] = size
    return blocks


def projection_blocks(run: Store, layer: str, pick: Pick = WINNING) -> dict[Block, int]:
    """The same without those whose place another one with more ranks has taken."""
    blocks = all_blocks(run, layer, pick)
    return {
        block: size
        for block, size in blocks.items()
        if not any(other.covers(block) for other in blocks if other != block)
    }


def read_projected_keys(run: Store, names: Sequence[str]) -> dict[str, "pd.DataFrame"]:
    """Which winners tasks have projected into these files, by `PROJECTED_KEYS`.

    Raises:
        IncompleteError: a file is damaged.
    """

    def read(name: str) -> "pd.DataFrame":
        table = read_table(run, name, schema.PROJECTED_ROW, schema.PROJECTED_KEYS)
        keys: pd.DataFrame = table.to_pandas()
        return keys

    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        return dict(zip(names, pool.map(read, names), strict=True))


def projected_maps(run: Store, layer: str) -> set[int]:
    """The feature maps of a layer whose winners, if they have any, are projected."""
    return {number for block in projection_blocks(run, layer) for number in block.maps}


def read_projections(
    run: Store,
    layer: str,
    maps: Collection[int],
    ranks: int | None = None,
    columns: Sequence[str] | None = None,
) -> "pd.DataFrame":
    """The projections of some feature maps of a layer, by map and rank.

    Args:
        run: where they are.
        layer: one of the run's.
        maps: feature maps; one that has no projection (yet) has no rows.
        ranks: only up to this one.
        columns: only these, map and rank among them.

    Raises:
        IncompleteError: a file is damaged.
    """
    none = schema.PROJECTION.empty_table()
    tables = [none if columns is None else none.select(columns)]
    for block in projection_blocks(run, layer):
        here = sorted(each for each in maps if each in block.maps)
        if here:
            wanted = pc.field("feature_map").isin(here)
            if ranks is not None:
                wanted &= pc.field("rank") <= ranks
            tables.append(read_rows(run, block.name, schema.PROJECTION, columns, wanted))
    # files made with --arrays have a column more
    rows: pd.DataFrame = pa.concat_tables(tables, promote_options="default").to_pandas()
    return rows.sort_values(["feature_map", "rank"], ignore_index=True)


def read_skipped_table(run: Store) -> pa.Table:
    """The samples that could not be used: shard, key and reason.

    Raises:
        IncompleteError: a file is damaged.
    """
    fields = schema.SKIPPED_SAMPLE
    tables = [read_table(run, name, fields) for name in _tables(run, schema.SKIPPED)]
    none = pa.Table.from_batches([], fields)  # unlike `empty_table`, it does not import pandas
    return pa.concat_tables([none, *tables])


def read_skipped(run: Store) -> "pd.DataFrame":
    """The same as a data frame."""
    frame: pd.DataFrame = read_skipped_table(run).to_pandas()
    return frame


def parts_done(run: Store, folder: str) -> set[str]:
    """The parts of which all is stored that stage 1 makes.

    Args:
        run: where they are.
        folder: of what is stored last.
    """
    folders = (folder, schema.STATISTICS)
    last, statistics = ({PurePosixPath(name).stem for name in run.list(each)} for each in folders)
    return last & statistics


def skipped_parts(run: Store) -> list[str]:
    """The parts with samples that could not be used.

    Raises:
        IncompleteError: a file is damaged.
    """
    names = _tables(run, schema.SKIPPED)
    return [
        PurePosixPath(name).stem
        for name in names
        if len(read_table(run, name, schema.SKIPPED_SAMPLE, ["shard"]))
    ]


def require_few_skipped(run: Store, most: float | None) -> None:
    """Refuse a run of which too many samples could not be used.

    Args:
        run: that has been mined.
        most: that may be skipped, as a share of all samples (below 1) or a count; None: any.

    Raises:
        IncompleteError: more were.
    """
    if most is None:
        return
    skipped = len(read_skipped(run))
    samples = skipped + int(read_feature_maps(run, ["images"])["images"].max())
    if skipped > (most if most >= 1 else most * samples):
        raise IncompleteError(
            f"{skipped} of {samples} samples could not be used, more than --max-skipped {most:g}; "
            f"{run.url}/{schema.SKIPPED} says which and why. Mend them and mine into another "
            "--run, or allow more."
        )
