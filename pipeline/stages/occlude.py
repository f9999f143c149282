"""Occlusion sensitivity of a picture: what was asked for, what was found, and its rows."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipeline import schema
from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.trace import Layer
from pipeline.core.nets.known import Net
from pipeline.core.occlusion.occlusion import Occluder, Occlusion, Sensitivity
from pipeline.core.projection.deconvnet import Seeds, ascend, project
from pipeline.data.class_names import ClassNames
from pipeline.data.pictures import Picture, Wanted
from pipeline.errors import NumericsError, RequestError

ClassFrom = Literal["label", "given", "prediction"]

OCCLUSION = pa.schema(
    [
        pa.field("image", pa.string()),  # as asked for: a path or URL, or the sample's key
        *(schema.WINNER.field(name) for name in ("shard", "key", "sample", "label")),
        pa.field("net", pa.string()),
        pa.field("layer", pa.string()),
        pa.field("feature_map", pa.int32()),  # the strongest one without occluder
        pa.field("occluder", pa.int16()),  # its side, in pixels of the net's input
        pa.field("stride", pa.int16()),
        pa.field("colour", pa.string()),  # mean, or #rrggbb
        pa.field("correct_class", pa.int32()),
        pa.field("correct_class_name", pa.string()),
        pa.field("class_from", pa.string()),  # label, given or prediction
        pa.field("top", pa.int16()),  # of the occluder, in the net's input
        pa.field("left", pa.int16()),
        pa.field("total_activation", pa.float32()),  # summed over the map
        pa.field("probability", pa.float32()),  # of the correct class
        pa.field("top_class", pa.int32()),
        pa.field("top_class_name", pa.string()),
        pa.field("total_activation_without", pa.float32()),  # the same without occluder
        pa.field("probability_without", pa.float32()),
        pa.field("top_class_without", pa.int32()),
    ]
)
"""One row per picture and place of the occluder, row by row from the top left.

``frame.pivot(index="top", columns="left", values="probability")`` is a map.
"""


@dataclass(frozen=True)
class OccludeSettings:
    """How pictures are occluded.

    Attributes:
        layer: whose strongest feature map is watched; None takes the top one.
        occluder: its side in pixels of the net's input.
        stride: pixels from one place to the next.
        colour: R, G, B from 0 to 255; None is the mean of the preprocessing.
        label: the correct class of every picture; None takes the sample's label, and where there
            is none the most probable class without occluder.
    """

    layer: str | None = None
    occluder: int = 27
    stride: int = 7
    colour: tuple[int, int, int] | None = None
    label: int | None = None

    @property
    def colour_name(self) -> str:
        """``mean`` or ``#rrggbb``."""
        return "mean" if self.colour is None else "#{:02x}{:02x}{:02x}".format(*self.colour)


@dataclass(frozen=True)
class Occluded:
    """What occluding one picture showed.

    Attributes:
        picture: the picture.
        net: the net's name.
        layer: the layer that was watched.
        settings: how.
        found: the maps.
        class_from: where the correct class is from.
        projection: (3, H, W) of the strongest activation, over the net's whole input.
        box: top, left, bottom, right of that activation's receptive field, clipped.
        mean: of the preprocessing, R, G, B from 0 to 255.
        names: of the classes.
    """

    picture: Picture
    net: str
    layer: str
    settings: OccludeSettings
    found: Sensitivity
    class_from: ClassFrom
    projection: NDArray[np.float32]
    box: tuple[int, int, int, int]
    mean: tuple[int, int, int]
    names: ClassNames | None = None

    @property
    def colour(self) -> tuple[int, int, int]:
        """The occluder's colour, to be looked at."""
        return self.settings.colour or self.mean

    def class_name(self, label: int) -> str:
        """The name of a class; its number where it has none."""
        known = self.names.names.get(label) if self.names else None
        return known or f"class {label}"


def check(net: Net, settings: OccludeSettings) -> Layer:
    """Refuse what cannot be done, before anything is read; returns the layer to watch.

    Raises:
        RequestError: the net has no such layer or class, or the occluder does not fit.
    """
    names = [layer.name for layer in net.graph.layers]
    if settings.layer is not None and settings.layer not in names:
        raise RequestError(
            f"Net {net.name} has no layer {settings.layer!r}; it has {', '.join(names)}."
        )
    crop = net.preprocessing.crop
    if not 1 <= settings.occluder <= crop:
        raise RequestError(
            f"An occluder of {settings.occluder} pixels does not fit the {crop}×{crop} pixels "
            f"that {net.name} sees; choose 1 to {crop}."
        )
    if settings.stride < 1:
        raise RequestError(f"A stride of {settings.stride} never moves; choose 1 or more.")
    if settings.colour is not None and not all(0 <= part <= 255 for part in settings.colour):
        raise RequestError(f"A colour has parts from 0 to 255, not {settings.colour}.")
    if settings.label is not None:
        _check_label(net, settings.label, "The label given")
    return net.graph.layer(settings.layer or names[-1])


def _check_label(net: Net, label: int, whose: str) -> None:
    if not 0 <= label < net.classes:
        raise RequestError(
            f"{whose} is {label}, but {net.name} has classes 0 to {net.classes - 1}; "
            "give one of those."
        )


def prepare(net: Net, settings: OccludeSettings) -> Occlusion:
    """The net made ready for these settings; serves any number of pictures.

    Raises:
        RequestError: as `check`.
    """
    layer = check(net, settings)
    if net.module is None:
        raise ValueError("occlusion needs the whole net, not its trunk alone")
    value = (0.0, 0.0, 0.0)
    if settings.colour is not None:
        pre = net.preprocessing
        red, green, blue = (
            (part / 255 - mean) / std
            for part, mean, std in zip(settings.colour, pre.mean, pre.std, strict=True)
        )
        value = (red, green, blue)
    occluder = Occluder(settings.occluder, settings.stride, value)
    return Occlusion(net.module, layer, net.preprocessing.input_size, occluder)


def occlude(
    net: Net,
    plan: Occlusion,
    picture: Picture,
    settings: OccludeSettings,
    names: ClassNames | None = None,
) -> Occluded:
    """Slide the occluder over one picture, and project its strongest activation.

    Args:
        net: on the device to use.
        plan: what `prepare` made of the same net and settings.
        picture: the picture.
        settings: how.
        names: of the net's classes.

    Raises:
        RequestError: the picture's label is no class of the net.
        NumericsError: an activation or a probability is not finite.
    """
    device = next(net.graph.trunk.parameters()).device
    image = net.preprocessing.normalise(picture.image[None].to(device))
    label, source = _correct_class(net, picture.wanted, settings, names)
    found = plan.measure(image[0], label)
    if not (np.isfinite(found.total).all() and np.isfinite(found.probability).all()):
        raise NumericsError(
            f"{picture.wanted.name}: an activation of {plan.layer.name} or a probability is not "
            "finite; are these the net's weights?"
        )
    projection, box = _project(net, plan.layer, image, found)
    red, green, blue = (round(255 * part) for part in net.preprocessing.mean)
    return Occluded(
        picture=picture,
        net=net.name,
        layer=plan.layer.name,
        settings=settings,
        found=found,
        class_from=source,
        projection=projection,
        box=box,
        mean=(red, green, blue),
        names=names,
    )


def _correct_class(
    net: Net, wanted: Wanted, settings: OccludeSettings, names: ClassNames | None
) -> tuple[int | None, ClassFrom]:
    if settings.label is not None:
        return settings.label, "given"
    if wanted.label is None:
        return None, "prediction"
    own = names.names.get(wanted.label) if names else None
    if own is not None and wanted.class_name is not None and own != wanted.class_name:
        return None, "prediction"  # the dataset counts other classes than the net
    _check_label(net, wanted.label, f"The label of {wanted.name}")
    return wanted.label, "label"


def _project(
    net: Net, layer: Layer, image: torch.Tensor, found: Sensitivity
) -> tuple[NDArray[np.float32], tuple[int, int, int, int]]:
    """The projection of the strongest activation over the whole input, and its box."""
    graph = net.graph.only([layer.name])
    y, x = found.place
    seeds = Seeds(*(torch.tensor([n], device=image.device) for n in (0, found.feature_map, y, x)))
    (projection,) = project(graph, layer, ascend(graph, image), seeds)
    size = net.preprocessing.input_size
    boxes = receptive_field(graph, layer).boxes(np.array([y]), np.array([x]), size)
    top, left, bottom, right = boxes[0].tolist()
    whole = np.zeros((3, *size), np.float32)
    whole[:, top:bottom, left:right] = projection.cpu().numpy()
    return whole, (top, left, bottom, right)


# --- tables -----------------------------------------------------------------------------------


def to_table(occluded: Occluded) -> pa.Table:
    """The maps as rows of `OCCLUSION`."""
    found, wanted, settings = occluded.found, occluded.picture.wanted, occluded.settings
    rows = found.total.size
    top, left = np.meshgrid(found.tops, found.lefts, indexing="ij")
    classes = found.top_class.ravel()
    constant = {
        "image": wanted.name,
        "shard": wanted.located.shard if wanted.located else None,
        "key": wanted.located.key if wanted.located else None,
        "sample": wanted.sample,
        "label": wanted.label,
        "net": occluded.net,
        "layer": occluded.layer,
        "feature_map": found.feature_map,
        "occluder": settings.occluder,
        "stride": settings.stride,
        "colour": settings.colour_name,
        "correct_class": found.label,
        "correct_class_name": _known(occluded, found.label),
        "class_from": occluded.class_from,
        "total_activation_without": found.base_total,
        "probability_without": found.base_probability,
        "top_class_without": found.base_class,
    }
    names = {int(one): _known(occluded, int(one)) for one in np.unique(classes)}
    columns = {
        "top": top.ravel(),
        "left": left.ravel(),
        "total_activation": found.total.ravel(),
        "probability": found.probability.ravel(),
        "top_class": classes,
        "top_class_name": [names[one] for one in classes.tolist()],
        **{name: [value] * rows for name, value in constant.items()},
    }
    return pa.table(
        {field.name: pa.array(columns[field.name], field.type) for field in OCCLUSION},
        schema=OCCLUSION,
    )


def _known(occluded: Occluded, label: int) -> str | None:
    return occluded.names.names.get(label) if occluded.names else None
