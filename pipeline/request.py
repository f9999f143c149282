"""What `mine` is asked for; without torch, since the command line's help is made of it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Precision = Literal["exact", "fast"]
DataFormat = Literal["folder", "webdataset", "parquet"]


class Frozen(BaseModel):
    """A model of which every field is known and stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Mining(Frozen):
    """What is asked for and then belongs to the run; the help texts are those of the command."""

    net: str = Field(
        default="alexnet",
        description="The net; `deconv-atlas nets` lists them. Or module:function, yours, that "
        "returns a torch.nn.Module and its Preprocessing. Several nets, by more than one --net, "
        "are mined in one pass, each into RUN/NET.",
    )
    weights: str | None = Field(
        default=None,
        description="Name of torchvision's weights, .pth or .safetensors path or URL, or "
        "random:SEED; for alexnet-2012 and zfnet also .onnx and Keras' .h5. Once, or once for "
        "each net.",
    )
    colour_order: Literal["rgb", "bgr"] | None = Field(
        default=None,
        description="rgb or bgr: what the weights take, if not what their format usually is.",
    )
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None = Field(
        default=None,
        description="Subtracted from 0-255, nothing divided, if not what is usual for the weights.",
    )
    layers: tuple[Any, ...] | None = None  # asked for by name, kept with all about them
    top_k: int = Field(  # ranks are int16
        default=9, ge=1, le=2**15 - 1, description="Winners kept per feature map."
    )
    precision: Precision = Field(
        default="exact",
        description="exact: float32 throughout. fast: screen in reduced precision, then look "
        "exactly at all images that may be winners; the winners are the same.",
    )
    data: str = Field(description="Image folder, WebDataset tars or Parquet: path, glob or URL.")
    format: DataFormat | None = Field(
        default=None, description="folder, webdataset or parquet; detected if not given."
    )
    class_names: str | None = Field(
        default=None,
        description="Names of the classes: text, JSON, or Keras' imagenet_class_index.json.",
    )


class MineRequest(Mining):
    """What `mine` is asked for: the options of the command, or the keys of a TOML file."""

    layers: tuple[str, ...] | None = Field(
        default=None, description="Layers, with commas between; by default all."
    )
    run: str = Field(description="Where the run is: a path or any fsspec URL.")
    workers: int | None = Field(
        default=None,
        ge=1,
        description="How many work at once; by default one per GPU, else one per CPU.",
    )
    address: str | None = Field(
        default=None,
        description="Ray cluster; by default the one that this process belongs to, else a local "
        "Ray.",
    )
