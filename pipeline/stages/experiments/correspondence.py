"""Correspondence: the same part hidden in different pictures, and random parts."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
import torch

from pipeline.core import correspondence
from pipeline.core.correspondence import Signs
from pipeline.core.nets.known import Net
from pipeline.data.formats.dataset import Dataset
from pipeline.data.object_parts import RANDOM, WHOLE, Box, Parted
from pipeline.data.pictures import Wanted, read_picture
from pipeline.data.stored.experiment_columns import CORRESPONDENCE
from pipeline.errors import RequestError


@dataclass(frozen=True)
class Hiding:
    """A picture, and what is hidden in it.

    Attributes:
        wanted: the picture.
        parted: its parts.
        draws: how many random places are hidden too.
        seed: of these.
    """

    wanted: Wanted
    parted: Parted
    draws: int
    seed: int

    def places(self) -> Iterator[tuple[str, int, Box]]:
        """What is hidden: the part's name, the number of the draw, the box."""
        parts = {name: box for name, box in self.parted.parts.items() if name != WHOLE}
        for name, box in parts.items():
            yield name, 0, box
        sizes = np.array([(box[2] - box[0], box[3] - box[1]) for box in parts.values()])
        high, wide = sizes.mean(0)
        top, left, bottom, right = self.parted.whole
        rng = np.random.default_rng([self.seed, zlib.crc32(self.parted.image.encode())])
        for draw in range(self.draws):
            y = rng.uniform(top, max(top, bottom - high))
            x = rng.uniform(left, max(left, right - wide))
            yield RANDOM, draw, (y, x, y + high, x + wide)


@dataclass(frozen=True)
class Hidden:
    """What hiding one thing in a picture changed.

    Attributes:
        image: the picture's name.
        part: what was hidden.
        draw: which one of random parts.
        signs: layer → of the changes.
        box: top, left, bottom, right of what was hidden, in the net's input.
    """

    image: str
    part: str
    draw: int
    signs: dict[str, Signs]
    box: tuple[int, int, int, int]


def hide_unit(net: Net, unit: Sequence[Hiding], dataset: Dataset | None) -> list[Hidden]:
    """Hide what there is to hide in some pictures.

    Raises:
        RequestError: a picture cannot be used, or the net's crop leaves nothing of a part.
    """
    return [hidden for hiding in unit for hidden in _hide(net, hiding, dataset)]


def _hide(net: Net, hiding: Hiding, dataset: Dataset | None) -> Iterator[Hidden]:
    picture = read_picture(hiding.wanted, net.preprocessing, dataset)
    places = list(hiding.places())
    sizes = np.array([picture.size] * len(places)).T
    given = np.array([box for _, _, box in places])
    boxes = net.preprocessing.input_boxes(given, *sizes).round().astype(int)
    for (part, _, _), box in zip(places, boxes, strict=True):
        if part != RANDOM and not (box[0] < box[2] and box[1] < box[3]):
            raise RequestError(
                f"{part} of {hiding.parted.image} is not in what {net.name} sees of the picture, "
                "the middle of it; leave it out."
            )
    image = net.preprocessing.normalise(picture.image[None].to(net.device))[0]
    for (part, draw, _), box in zip(places, boxes.tolist(), strict=True):
        # together, so that what is not changed comes out the same to the last bit
        with torch.inference_mode():
            made = net.graph.trunk(torch.stack([image, correspondence.hide(image, box)]))
        signs = {
            layer.name: correspondence.signs(own, hidden)
            for layer, (own, hidden) in zip(net.graph.layers, made, strict=True)
        }
        top, left, bottom, right = box
        yield Hidden(hiding.parted.image, part, draw, signs, (top, left, bottom, right))


def distances(net: Net, hidden: Sequence[Hidden]) -> pa.Table:
    """One row per layer, part, draw and pair of pictures: `CORRESPONDENCE`."""
    rows = []
    groups: dict[tuple[str, int], list[Hidden]] = {}
    for each in hidden:
        groups.setdefault((each.part, each.draw), []).append(each)
    for layer in net.graph.layers:
        features = layer.maps * layer.size[0] * layer.size[1]
        for (part, draw), members in groups.items():
            for one, other in combinations(members, 2):
                differ = correspondence.hamming(
                    one.signs[layer.name], other.signs[layer.name], features
                )
                rows.append(
                    {
                        "layer": layer.name,
                        "part": part,
                        "draw": draw if part == RANDOM else None,
                        "image": one.image,
                        "other_image": other.image,
                        "distance": differ,
                    }
                )
    return pa.Table.from_pylist(rows, schema=CORRESPONDENCE)
