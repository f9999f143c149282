"""What a run is: small frozen models, validated once."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline import schema
from pipeline.core.field import ReceptiveField
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.errors import RequestError
from pipeline.request import DataFormat, Frozen, Mining

if TYPE_CHECKING:
    from pipeline.core.graph.trace import Graph, Layer

_ARITHMETIC = "IEEE float32"
"""What exact results are computed in."""

_NAMED = 6
"""Layers that are named where there may be many."""

_DIGESTS = {
    "fingerprint": "{0.data} is not what {run} was mined from: "
    "files were added, removed or changed",
    "weights_digest": "The weights of {0.weights} are not those that {run} was mined with",
    "labels_digest": "The labels (--labels {0.labels}) are not those that {run} was mined with",
}
"""What it means that a field differs, where its value says nothing."""


class LayerSpec(Frozen):
    """A layer of the run's net: its maps, their size (H, W), and what each position sees.

    The deconvnet cannot project one with `no_way_down`: the operation that stops it.
    """

    name: str
    maps: int
    size: tuple[int, int]
    receptive_field: ReceptiveField
    no_way_down: str | None = None

    def require_map(self, feature_map: int) -> None:
        """Refuse a feature map that the layer does not have.

        Raises:
            RequestError: naming those that it has.
        """
        if not 0 <= feature_map < self.maps:
            raise RequestError(
                f"Layer {self.name} has feature maps 0 to {self.maps - 1}, not {feature_map}."
            )

    @classmethod
    def of(cls, graph: "Graph", layer: "Layer") -> "LayerSpec":
        """A layer of a net."""
        from pipeline.core.graph.receptive_field import receptive_field  # which needs torch

        return cls(
            name=layer.name,
            maps=layer.maps,
            size=layer.size,
            receptive_field=receptive_field(graph, layer),
            no_way_down=graph.opaque.get(layer.name),
        )


class Machine(Frozen):
    """A machine, as far as results may depend on it to the last bit."""

    device: str
    """cpu or cuda, and its model."""
    instructions: str
    """The widest that torch uses on the CPU."""
    decoder: str
    """Of JPEGs."""
    versions: dict[str, str]


class MinedBy(Frozen):
    """The machines of one kind that mined a run."""

    machine: Machine
    parts: int
    """How many files of stage 1 are theirs."""
    first: str
    """The first of these files, in the order of the dataset."""


class RunSpec(Mining):
    """What a run is: everything that its results follow from. Kept as `run.json`."""

    weights: str
    weights_digest: str
    classes: int
    preprocessing: Preprocessing
    layers: tuple[LayerSpec, ...]
    format: DataFormat
    fingerprint: str
    labels_digest: str | None = None
    arithmetic: str = _ARITHMETIC
    versions: dict[str, str] = Field(default_factory=dict)
    machines: tuple[MinedBy, ...] = ()
    """Noted as the run is merged."""

    @property
    def parts_folder(self) -> str:
        """Where a file tells of each part that it is done."""
        return schema.HEAPS if self.precision == "exact" else schema.SCREEN

    def require_same(self, other: "RunSpec", run: str) -> None:
        """Refuse to go on in a run that is something else.

        Raises:
            RequestError: naming the first thing that differs.
        """
        for name in type(self).model_fields:
            # others may read a run; labels are compared by what they are
            # and examples are chosen when a run is merged, which is soon done again
            if name in ("versions", "machines", "labels", "examples"):
                continue
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs and name in _DIGESTS:
                raise RequestError(
                    f"{_DIGESTS[name].format(self, run=run)}; "
                    "put back what was there, or name another --run."
                )
            if mine != theirs:
                raise RequestError(
                    f"{run} belongs to another configuration: its {name.replace('_', ' ')} is "
                    f"{_brief(theirs)}, not {_brief(mine)}; name another --run."
                )

    def require_same_but_data(self, before: "RunSpec", run: str) -> None:
        """Refuse to extend a run that is something else, but for its data.

        Raises:
            RequestError: naming what differs, or because the dataset has no shards.
        """
        if self.format == "folder":
            raise RequestError(
                f"{self.data} is an image folder, and only shards are told apart; pack new "
                "pictures into tars, or mine all of them into another --run."
            )
        of_data = {"data": before.data, "fingerprint": before.fingerprint}
        self.model_copy(update=of_data).require_same(before, run)

    def layer(self, name: str) -> LayerSpec:
        """The layer called `name`.

        Raises:
            RequestError: the run has no such layer.
        """
        names = [layer.name for layer in self.layers]
        choose_layers(names, [name], "The run")
        return self.layers[names.index(name)]


def choose_layers(names: Sequence[str], wanted: Sequence[str] | None, whose: str) -> list[str]:
    """The layers asked for, in the order of the forward pass; all if none are named.

    Raises:
        RequestError: one is unknown.
    """
    for name in wanted or ():
        if name not in names:
            raise RequestError(f"{whose} has no layer {name!r}; it has {', '.join(names)}.")
    return [name for name in names if not wanted or name in wanted]


def choose_projectable(
    names: Sequence[str], wanted: Sequence[str] | None, whose: str, opaque: Mapping[str, str]
) -> list[str]:
    """`choose_layers`, without those that have no way down.

    Args:
        names: of the layers.
        wanted: of them.
        whose: they are.
        opaque: layer → the operation that stops the deconvnet.

    Raises:
        RequestError: one is unknown, or asked for and has no way down.
    """
    for name in wanted or ():
        if name in opaque:
            raise RequestError(
                f"Layer {name} cannot be projected: the deconvnet has no way down through "
                f"{opaque[name]}; choose others."
            )
    return [name for name in choose_layers(names, wanted, whose) if name not in opaque]


def say_opaque(opaque: Mapping[str, str], layers: int) -> str:
    """Which of so many layers have no way down, in words."""
    named = [f"{name} (through {what})" for name, what in list(opaque.items())[:_NAMED]]
    more = f" and {len(opaque) - _NAMED} more" if len(opaque) > _NAMED else ""
    return f"{len(opaque)} of {layers} layers have no way down: {', '.join(named)}{more}"


def _brief(value: object) -> str:
    if value is None:
        return "the usual"
    if isinstance(value, tuple) and value and isinstance(value[0], LayerSpec):
        return ",".join(layer.name for layer in value)
    return str(value)


def versions() -> dict[str, str]:
    """The versions that results may depend on."""
    packages = ("deconv-atlas", "torch", "torchvision", "pillow")
    return {"python": platform.python_version(), **{name: version_of(name) for name in packages}}


def version_of(package: str) -> str:
    """The version of a package; of one that lies in a working folder it is unknown."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
