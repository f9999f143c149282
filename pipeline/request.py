"""What commands are asked for: frozen models, validated once, of which the options are made.

The text of a field is its option's help. Nothing here needs torch, so that help comes at once.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, FiniteFloat

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


Panel = Literal["control", "invariance", "correspondence", "compare"]
SVG = Annotated[bool, Field(description="Also as SVG, for drawing programs.")]
_WIDE = 297.0


class Figured(Frozen):
    """A figure as wide as a page, or as both columns of a journal."""

    width: float = Field(default=_WIDE, ge=150, le=600)
    """Of the figure, in millimetres: 183 is both columns of a journal."""
    svg: SVG = False


class ExplainRequest(OnCluster, Figured):
    """Explain pictures by a run's net: the strongest activation of each layer."""

    images: tuple[str, ...]
    """Paths or URLs, or numbers or keys of samples of the run."""
    layers: Layers = None


class OccludeRequest(OnCluster):
    """Slide an occluder over pictures before a run's net."""

    images: tuple[str, ...]
    """Paths or URLs, or numbers or keys of samples of the run, with commas between; may be
    repeated."""
    occluder: Occluder = 27
    stride: Stride = 7
    colour: tuple[int, int, int] | None = None
    """Of the square, as #rrggbb; by default the net's mean."""
    layer: str | None = None
    """Whose strongest feature map is watched; by default the top one's."""
    label: int | None = None
    """The correct class; by default the sample's, else the net's prediction."""
    width: float = Field(default=_WIDE, ge=80, le=600)
    """Of the figure, in millimetres: 89 is one column of a journal, 183 are both."""
    svg: SVG = False


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


class PosterRequest(OfRun):
    """One page with what a run has found."""

    out: str | None = None
    """Path or URL of the page; by default RUN/poster.pdf."""
    layers: Layers = None
    maps: dict[str, tuple[int, ...]] | None = None
    """Feature maps to show of a layer, as conv5=3,12; may be repeated."""
    images: tuple[str, ...] = ()
    """The examples, as for occlude; by default winners."""
    panels: tuple[Panel, ...] = ()
    """Figures of the run to be added below, on a longer page: control, invariance, correspondence
    or compare, with commas between."""
    occluder: Occluder = 27
    stride: Stride = 7
    svg: SVG = False
