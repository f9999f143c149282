"""Requests about a run as a whole: to mine it, to go on with it, and to look at it."""

from typing import Any, Literal

from pydantic import Field, FiniteFloat

from pipeline.request.fields import (
    Address,
    DataFormat,
    Frozen,
    Layers,
    OfRun,
    OnCluster,
    Precision,
    Quantiles,
    Workers,
)


class Mining(Frozen):
    """What `mine` is asked for and then belongs to the run."""

    net: str = "alexnet"
    """The net; `deconv-atlas nets` lists them. Or module:function, yours, that returns a
    torch.nn.Module and its Preprocessing; or timm:NAME, one of timm's. Several nets, by more than
    one --net, are mined in one pass, each into RUN/NET."""
    weights: str | None = None
    """Name of torchvision's weights, .pth or .safetensors path or URL, or random:SEED; for
    alexnet-2012 and zfnet also .onnx and Keras' .h5. Once, or once for each net."""
    colour_order: Literal["rgb", "bgr"] | None = None
    """rgb or bgr: what the weights take, if not what their format usually is."""
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None = None
    """Subtracted from 0-255, nothing divided, if not what is usual for the weights."""
    resize: Literal["torch", "pillow"] | None = None
    """Whose code resizes pictures: torch, sooner, a grey level off in 0.2 % of the pixels; or
    pillow, the very pixels of torchvision's transform. By default torch."""
    layers: tuple[Any, ...] | None = None  # asked for by name, kept with all about them
    top_k: int = Field(default=9, ge=1, le=2**15 - 1)  # ranks are int16
    """Winners kept per feature map."""
    precision: Precision = "exact"
    """exact: float32 throughout. fast: screen in reduced precision, then look exactly at all
    images that may be winners; the winners are the same. Where that would take longer, exact."""
    examples: Quantiles = (0.99, 0.9, 0.5)
    """Beside the winners, for each feature map an image at each of these quantiles of its
    activations, so that nobody takes the winners for the whole; or none."""
    data: str
    """Image folder, WebDataset tars or Parquet: path, glob or URL."""
    format: DataFormat | None = None
    """folder, webdataset or parquet; detected if not given."""
    image_column: str | None = None
    """The column of pictures in Parquet; by default image, or the only one."""
    label_column: str | None = None
    """The column of labels in Parquet; by default label or labels."""
    labels: str | None = None
    """Labels of the pictures: CSV or Parquet of name or position and label, or text with one
    label per line in the order of the sorted names."""
    class_names: str | None = None
    """Names of the labels' classes: a file (text, JSON, or Keras' imagenet_class_index.json); net:
    the labels are the net's classes; none: no names but the dataset's own."""


class MineRequest(Mining, OnCluster):
    """Mine the data for the images that excite each feature map most."""

    layers: Layers = None
    decoder: Literal["libjpeg", "nvjpeg"] = "libjpeg"
    """nvjpeg: screen pictures that GPUs have decoded, where --precision is fast and torchcodec is
    installed for GPUs; what may be a winner is decoded by libjpeg. The winners are the same."""
    same_machines: bool = False
    """Refuse parts that were mined by unlike machines, whose last bits may differ."""
    extend: bool = False
    """The run's dataset has grown by shards: mine these alone, and merge them in."""
    retry_skipped: bool = False
    """Mine the parts with unusable samples again; their shards may have been mended."""
    max_skipped: float | None = Field(default=None, ge=0)
    """The most samples that may be unusable, as a share (0.01) or a count (100); more make the
    run incomplete. By default any."""


class DoctorRequest(OnCluster):
    """Ask every node whether it can do the work of a run."""

    data: str
    """What is to be mined: path, glob or URL."""
    format: DataFormat | None = None
    """folder, webdataset or parquet; detected if not given."""


class ShowRequest(OfRun):
    """Look at a run in the terminal."""

    layer: str | None = None
    """One of its layers."""
    feature_map: int | None = None
    """One of its feature maps."""


class AskRequest(OnCluster):
    """Answer, over HTTP, what pictures excite in a run's net."""

    atlas: str | None = None
    """Where `publish` put the atlas that is shown beside the answers; by default RUN/atlas."""
    port: int = Field(default=8000, ge=1, le=65535)
    """To listen on."""
    host: str = "127.0.0.1"
    """Address to listen on: by default this machine alone can ask; 0.0.0.0 is whoever reaches
    it."""
    address: str | None = None
    """Ray cluster; by default the one that this process belongs to, else a Ray of this machine
    alone."""


class ProjectRequest(OnCluster):
    """Project the winners of a run that have no projection yet."""

    rank_limit: int | None = Field(default=None, ge=1)
    """Only the winners up to this rank."""
    layers: Layers = None
    unpooling: Literal["sum", "max"] = "sum"
    """Where pooling windows overlap: sum (the adjoint) or max (the poster's)."""
    arrays: bool = False
    """Keep the unnormalised projections too, as float32."""


class PublishRequest(OfRun):
    """Compose the atlas of a run."""

    dest: str | None = None
    """Where to put it; by default RUN/atlas."""
    no_patches: bool = False
    """Show projections alone: the dataset's licence forbids showing its pictures."""
    credit: str = ""
    """What the atlas says of the pictures: whose they are, and their licence."""
    url: str = ""
    """Where it will be seen, for the pictures that other sites show beside a link to it."""
    prune: bool = False
    """Remove files of earlier atlases that are no longer needed and older than an hour."""
    workers: Workers = None
    address: Address = None
