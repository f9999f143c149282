"""What the requests have in common: kinds of values, and who does the work on what."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field

Precision = Literal["exact", "fast"]
DataFormat = Literal["folder", "webdataset", "parquet"]

Run = Annotated[str, Field(description="Where the run is: a path or any fsspec URL.")]
Layers = Annotated[
    tuple[str, ...] | None, Field(description="Layers, with commas between; by default all.")
]
WORKERS = "How many work at once, at most; by default all that the cluster has room for."
Workers = Annotated[int | None, Field(ge=1, description=WORKERS)]
_ADDRESS = (
    "Ray cluster; by default the one that this process belongs to, else this machine: for up to "
    "25,000 pictures this process alone, for more a local Ray, as always with local."
)
Address = Annotated[str | None, Field(description=_ADDRESS)]
Occluder = Annotated[int, Field(description="Side of the square, in pixels of the net's input.")]
Stride = Annotated[int, Field(description="Pixels from one place of the square to the next.")]


Share = Annotated[float, Field(gt=0, lt=1)]


def _unless_none(value: object) -> object:
    return () if value in ("none", ("none",), ["none"]) else value


Quantiles = Annotated[tuple[Share, ...], BeforeValidator(_unless_none)]


def _from_json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


StorageOptions = Annotated[dict[str, Any] | None, BeforeValidator(_from_json)]


class Frozen(BaseModel):
    """A model of which every field is known and stays as it is."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        defer_build=True,  # a command uses one of them or two, and building all takes longer
    )


class OfRun(Frozen):
    """About a run, and what its dataset is read with."""

    run: Run
    storage_options: StorageOptions = Field(default=None, exclude=True, repr=False)
    """What fsspec is told of DATA and of a RUN that is no local folder, as JSON: {"anon": true};
    {"s3://BUCKET": {"anon": true}} is for that bucket alone."""


class Workforce(Frozen):
    """Who does the work: workers join as soon as there is room, also on nodes that come later."""

    workers: Workers = None
    gpus: Literal["required", "auto", "none"] = "auto"
    """required: work on GPUs alone and wait for nodes that have them. auto: on GPUs where there
    are some when the work begins. none: on processors."""
    gpus_per_worker: float | None = Field(default=None, gt=0)
    """A part of a GPU or several; by default 1."""
    cpus_per_worker: float | None = Field(default=None, gt=0)
    """By default a GPU's share of its node's processors, else 1."""
    memory_per_worker: ByteSize | None = Field(default=None, gt=0)
    """As 12GiB; by default workers are not placed by memory."""


class OnCluster(OfRun, Workforce):
    """Work on a run by the workers of a cluster."""

    address: Address = None
