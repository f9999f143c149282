"""What was found in single pictures: records that the stages make and the atlas draws."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config import LayerSpec
from pipeline.core.occlusion.occlusion import Sensitivity
from pipeline.core.render import projection_contrast
from pipeline.data.class_names import ClassNames
from pipeline.data.pictures import Picture

ClassFrom = Literal["label", "given", "prediction"]


@dataclass(frozen=True)
class Activation:
    """A strong activation of one picture, and its projection.

    Attributes:
        layer: whose it is.
        rank: among the different feature maps of the layer, from 1.
        feature_map: which channel.
        y: row in the feature map.
        x: column in the feature map.
        value: the activation, above zero.
        unrectified: the same before a rectification that only cuts values off, by which the maps
            of a layer are ranked.
        box: top, left, bottom, right of its receptive field, clipped, in the net's input.
        source_box: the same in the original picture's pixels.
        projection: (C, bottom - top, right - left) float32, in the net's input space.
    """

    layer: str
    rank: int
    feature_map: int
    y: int
    x: int
    value: float
    unrectified: float
    box: tuple[int, int, int, int]
    source_box: tuple[float, float, float, float]
    projection: NDArray[np.float32]

    @property
    def is_whole(self) -> bool:
        """Whether rectification did not cut the activation off."""
        return self.value == self.unrectified

    @property
    def contrast(self) -> NDArray[np.uint8]:
        """The projection in projection contrast, (H, W, 3)."""
        return projection_contrast(self.projection)


@dataclass(frozen=True)
class Explanation:
    """What one picture does in a net.

    Attributes:
        picture: the picture.
        layers: the layers that were looked at, in the order of the forward pass.
        found: by layer, in this order, then by rank; nothing of a layer that is inactive.
    """

    picture: Picture
    layers: tuple[LayerSpec, ...]
    found: tuple[Activation, ...]

    @property
    def top(self) -> str:
        """The layer of which several feature maps were looked at."""
        return self.layers[-1].name

    def of(self, layer: str) -> list[Activation]:
        """The activations of a layer by rank; none if all of it is inactive."""
        return [activation for activation in self.found if activation.layer == layer]

    def patch(self, activation: Activation) -> NDArray[np.uint8]:
        """The net's input under the receptive field, (H, W, 3)."""
        top, left, bottom, right = activation.box
        return self.picture.pixels[top:bottom, left:right]


@dataclass(frozen=True)
class OccludeSettings:
    """How pictures are occluded.

    Attributes:
        layer: whose strongest feature map is watched; None takes the top one.
        occluder: its side in pixels of the net's input.
        stride: pixels from one place to the next.
        colour: R, G, B from 0 to 255; None is the mean of the preprocessing.
        label: the correct class of every picture; None takes the sample's label, and where that is
            none of the net's classes, the most probable class without occluder.
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
        projection: (C, H, W) of the strongest activation, over the net's whole input.
        box: top, left, bottom, right of that activation's receptive field, clipped.
        mean: of the preprocessing, R, G, B from 0 to 255.
        names: of the net's classes.
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
        return self.known_name(label) or f"class {label}"

    def known_name(self, label: int) -> str | None:
        """The name of a class; None where it has none."""
        return self.names.names.get(label) if self.names else None


class Made(NamedTuple):
    """What came of some pictures.

    Attributes:
        stored: names of objects, in the order in which they were written.
        unusable: of each picture that could not be used, why.
        turned: names of those that were turned upright.
    """

    stored: list[str]
    unusable: list[str]
    turned: list[str]

    @classmethod
    def nothing(cls) -> "Made":
        """As it is before the first picture."""
        return cls([], [], [])
