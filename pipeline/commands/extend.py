"""A run whose dataset has grown: it becomes one of the larger dataset, and parts are missing."""

from pathlib import PurePosixPath

from pipeline import schema
from pipeline.config import RunSpec
from pipeline.data.formats.dataset import Dataset
from pipeline.data.store import Store
from pipeline.errors import RequestError

_MOST_NAMED = 3


def extend(run: Store, spec: RunSpec, dataset: Dataset) -> None:
    """Make a run one of this dataset; what of it is mined stays, and its winners are merged anew.

    Whenever this is interrupted, the same command again goes on.

    Args:
        run: of a part of the dataset.
        spec: what it shall be.
        dataset: to which shards were added.

    Raises:
        RequestError: the run holds what is not in the dataset.
        WriteError: it could not be changed.
    """
    exact = spec.precision == "exact"
    folder = schema.HEAPS if exact else schema.SCREEN
    mined = {PurePosixPath(name).stem for name in run.list(folder)}
    if strange := sorted(mined - {part.name for part in dataset.parts()}):
        more = f" and {len(strange) - _MOST_NAMED} more" if len(strange) > _MOST_NAMED else ""
        raise RequestError(
            f"{run.url} was mined from shards that {dataset.url} does not have, or not any more "
            f"as they were: {', '.join(strange[:_MOST_NAMED])}{more}; put them back, or mine into "
            "another --run."
        )
    run.remove(schema.FEATURE_MAPS)  # from now on it is not mined to its end
    if not exact:  # which images are looked at again follows from all of them
        for name in run.list(schema.HEAPS):
            run.remove(name)
    run.write(schema.RUN, spec.model_dump_json(indent=2).encode())
