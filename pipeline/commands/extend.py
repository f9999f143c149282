"""A run whose dataset has grown, or was mended: of what it becomes, some parts are missing."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from pipeline import schema
from pipeline.config import RunSpec
from pipeline.data.formats.dataset import Dataset
from pipeline.data.store import Store
from pipeline.data.stored.listing import keep_listing
from pipeline.data.stored.results import skipped_parts
from pipeline.errors import RequestError

_MOST_NAMED = 3


def extend(run: Store, spec: RunSpec, dataset: Dataset, retry_skipped: bool = False) -> None:
    """Make a run one of this dataset; what of it is mined stays, and its winners are merged anew.

    Whenever this is interrupted, the same command again goes on.

    Args:
        run: of the dataset as it was.
        spec: what the run shall be.
        dataset: to which shards may have been added.
        retry_skipped: whether parts with samples that could not be used are to be mined again;
            their shards may have been exchanged.

    Raises:
        RequestError: the run holds what is not in the dataset.
        WriteError: it could not be changed.
    """
    again = skipped_parts(run) if retry_skipped else []
    mined = {PurePosixPath(name).stem for name in run.list(spec.parts_folder)}
    strange = sorted(mined - {part.name for part in dataset.parts()} - {*again})
    if strange:
        more = f" and {len(strange) - _MOST_NAMED} more" if len(strange) > _MOST_NAMED else ""
        raise RequestError(
            f"{run.url} was mined from shards that {dataset.url} does not have, or not any more "
            f"as they were: {', '.join(strange[:_MOST_NAMED])}{more}; put them back, or mine into "
            "another --run."
        )
    run.remove(schema.FEATURE_MAPS)  # from now on it is not mined to its end
    for name in _outdated(run, spec, again):
        run.remove(name)
    keep_listing(run, dataset)
    run.write(schema.RUN, spec.model_dump_json(indent=2).encode())


def _outdated(run: Store, spec: RunSpec, again: list[str]) -> Iterator[str]:
    """What goes; of a part that is mined again last of all what tells that it has to be."""
    if spec.precision != "exact":  # which images are looked at again follows from all of them
        for name in run.list(schema.HEAPS):
            yield schema.statistics_of_look(name)
            yield name
    for part in again:
        yield f"{spec.parts_folder}/{part}.parquet"
        yield schema.skipped_name(part)
