"""What `mine` is asked for; without torch, since the command line's help is made of it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Precision = Literal["exact", "fast"]
DataFormat = Literal["folder", "webdataset", "parquet"]


class Frozen(BaseModel):
    """A model of which every field is known and stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Mining(Frozen):
    """What is asked for and then belongs to the run; a field's text is its option's help."""

    net: str = "alexnet"
    """The net; `deconv-atlas nets` lists them. Or module:function, yours, that returns a
    torch.nn.Module and its Preprocessing. Several nets, by more than one --net, are mined in one
    pass, each into RUN/NET."""
    weights: str | None = None
    """Name of torchvision's weights, .pth or .safetensors path or URL, or random:SEED; for
    alexnet-2012 and zfnet also .onnx and Keras' .h5. Once, or once for each net."""
    colour_order: Literal["rgb", "bgr"] | None = None
    """rgb or bgr: what the weights take, if not what their format usually is."""
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None = None
    """Subtracted from 0-255, nothing divided, if not what is usual for the weights."""
    layers: tuple[Any, ...] | None = None  # asked for by name, kept with all about them
    top_k: int = Field(default=9, ge=1, le=2**15 - 1)  # ranks are int16
    """Winners kept per feature map."""
    precision: Precision = "exact"
    """exact: float32 throughout. fast: screen in reduced precision, then look exactly at all
    images that may be winners; the winners are the same."""
    data: str
    """Image folder, WebDataset tars or Parquet: path, glob or URL."""
    format: DataFormat | None = None
    """folder, webdataset or parquet; detected if not given."""
    class_names: str | None = None
    """Names of the classes: text, JSON, or Keras' imagenet_class_index.json."""


class MineRequest(Mining):
    """What `mine` is asked for: the options of the command, or the keys of a TOML file."""

    layers: tuple[str, ...] | None = None
    """Layers, with commas between; by default all."""
    run: str
    """Where the run is: a path or any fsspec URL."""
    workers: int | None = Field(default=None, ge=1)
    """How many work at once; by default one per GPU, else one per CPU."""
    address: str | None = None
    """Ray cluster; by default the one that this process belongs to, else a local Ray."""
