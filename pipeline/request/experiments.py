"""Requests for the experiments on a run."""

from pydantic import Field

from pipeline.request.fields import Layers, OnCluster, StorageOptions
from pipeline.request.pictures import Figured


class ControlRequest(OnCluster, Figured):
    """Project winners of a run through weights that are drawn anew."""

    layers: Layers = None
    maps: int = Field(default=32, ge=1)
    """Feature maps of each layer, evenly spaced among those alive."""
    rank_limit: int = Field(default=1, ge=1)
    """Only their winners up to this rank."""
    seed: int = Field(default=0, ge=0)
    """Of the weights that are drawn."""


class CompareRequest(Figured):
    """Compare runs over one dataset."""

    runs: tuple[str, ...]
    """Where the runs are, checkpoints in order of training: paths or any fsspec URLs."""
    out: str | None = None
    """Where the tables and the figure go; by default compare/ in the last run."""
    layers: Layers = None
    storage_options: StorageOptions = Field(default=None, exclude=True, repr=False)
    """What fsspec is told of runs that are in no local folder, as JSON: {"anon": true}."""


class CorrespondenceRequest(OnCluster, Figured):
    """Hide the same parts of several pictures before a run's net."""

    parts: str
    """CSV or Parquet with the columns image (as for occlude), part, top, left, bottom, right in
    pixels of the original pictures. Random parts lie in the part called object, or about all."""
    layers: Layers = None
    draws: int = Field(default=5, ge=0)
    """Random parts hidden in each picture."""
    seed: int = Field(default=0, ge=0)
    """Of the places of random parts."""


class InvarianceRequest(OnCluster, Figured):
    """Move, enlarge and turn pictures before a run's net."""

    images: tuple[str, ...] = ()
    """Pictures, as for occlude; by default winners of the top layer."""
    layers: Layers = None
