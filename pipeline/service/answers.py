"""What the service is asked, and what it answers: the JSON of its interface."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.errors import AtlasError, RequestError, TooLargeError, UnknownFormatError

_STATUS: dict[type, int] = {TooLargeError: 413, UnknownFormatError: 415}

Box = tuple[int, int, int, int]
"""Top, left, bottom, right."""


@dataclass(frozen=True)
class Shown:
    """The picture that a question is about.

    Attributes:
        name: of a sample of the run's dataset: its number, key or URL; or what an earlier answer
            calls the picture, as long as that is remembered.
        data: the content of a picture's file, if it was sent; then the name does not count.
    """

    name: str = ""
    data: bytes = b""


@dataclass(frozen=True)
class Refusal:
    """Why there is no answer.

    Attributes:
        status: of HTTP.
        error: a sentence, with the remedy.
    """

    status: int
    error: str

    @classmethod
    def of(cls, error: AtlasError) -> "Refusal":
        """What an error means to who has asked."""
        status = 422 if isinstance(error, RequestError) else 500
        return cls(_STATUS.get(type(error.__cause__), status), str(error))


class Said(BaseModel):
    """A part of what is answered."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Fault(Said):
    """Why there is no answer, in a sentence."""

    error: str


class AboutLayer(Said):
    """A layer that answers tell about."""

    layer: str
    maps: int


class About(Said):
    """The service."""

    net: str
    dataset: str
    """That the run was mined from."""
    images: int
    """How many of them the net has seen."""
    layers: list[AboutLayer]
    """In the order of the forward pass."""
    input: tuple[int, int]
    """Height and width of what the net sees of a picture."""
    classes: int
    """That the net tells apart; without any, nothing can be hidden from it."""
    most_bytes: int
    """Of a picture's file."""
    most_pixels: int
    """Of a picture."""
    remembered: float
    """Seconds for which a picture stays in memory once it is not asked about any more."""


class ClassShare(Said):
    """A class, and how probable the net takes it for."""

    label: int
    name: str
    probability: float


class StrongMap(Said):
    """A feature map that the picture excites."""

    feature_map: int
    activation: float
    """The strongest one in the map."""
    stronger_than: float
    """The share, 0 to 1, of the images of the dataset that excite the map less."""
    y: int
    x: int
    """Where it stands in the map: row and column."""
    box: Box
    """Its receptive field: top, left, bottom, right in the net's input, cut off at the border."""
    source_box: tuple[float, float, float, float]
    """The same in the picture as it was shown."""
    projection: str
    """What the deconvnet makes of it, in projection contrast, within the box: WebP, a data URL."""
    page: str
    """Of the map in the atlas: what follows the address of its index."""


class LayerAnswer(Said):
    """What a picture excites in a layer."""

    layer: str
    maps: list[StrongMap]
    """The strongest first; none if all of the layer is inactive."""


class Answer(Said):
    """What a picture excites."""

    picture: str
    """What the picture is called for further questions, as long as it is remembered."""
    name: str
    """Of a sample its key, else empty."""
    size: tuple[int, int]
    """Height and width of the picture, upright."""
    turned: bool
    """Whether it was turned upright, as its EXIF block says."""
    seen: str
    """The picture as the net sees it: WebP, as a data URL."""
    classes: list[ClassShare]
    """The most probable ones; none of a net that tells no classes apart."""
    layers: list[LayerAnswer]
    """In the order of the forward pass."""


class Change(Said):
    """What hiding does to a class."""

    label: int
    name: str
    probability: float
    before: float
    """With nothing hidden."""


class MapChange(Said):
    """What hiding does to the strongest activation of a feature map."""

    layer: str
    feature_map: int
    activation: float
    before: float
    """With nothing hidden."""


class Hidden(Said):
    """What the net makes of a picture with a part hidden."""

    picture: str
    """What the picture is called for further questions."""
    classes: list[Change]
    """The most probable ones now, and those that were it before."""
    maps: list[MapChange]


class Begun(Said):
    """The first line of an occlusion map: what it will be."""

    kind: Literal["begun"] = "begun"
    picture: str
    layer: str
    feature_map: int
    """The layer's strongest one, which is watched."""
    label: int
    name: str
    """The class that is watched: the most probable one with nothing hidden."""
    probability: float
    """Of the class, with nothing hidden."""
    total: float
    """The map's activation, summed over the map, with nothing hidden."""
    occluder: int
    """Side of the square, in pixels of the net's input."""
    tops: list[int]
    lefts: list[int]
    """Where the square stands: its first row and column."""


class Places(Said):
    """A further line: what the net made of some places of the square."""

    kind: Literal["places"] = "places"
    row: list[int]
    column: list[int]
    """Of `tops` and of `lefts`, which."""
    probability: list[float]
    total: list[float]
    top_class: list[int]


Line = Begun | Places | Fault
"""A line of an occlusion map that is streamed."""
