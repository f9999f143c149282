"""Occlusion sensitivity: what a net makes of an image while a square slides over it.

Zeiler & Fergus (2013), section 4.2: for each place of a grey square, how much is left of the
feature map that was strongest without it, how probable the correct class still is, and which
class is the most probable one. If the net has found the object, hiding the object matters, and
hiding anything else does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.graph.steps import Pair
from pipeline.core.graph.trace import Layer
from pipeline.core.graph.whole_net import WholeNet, tail, trace_whole
from pipeline.core.heaps.topk import strongest
from pipeline.core.occlusion.base import Base
from pipeline.core.occlusion.changes import (
    Operations,
    Places,
    count,
    occluder_changes,
    positions,
)
from pipeline.core.occlusion.incremental import Chunk, Incremental

Method = Literal["incremental", "full"]

_TAIL_BYTES = 2**26
"""Maps to gather before a batch of the tail: large linear layers want large batches."""

Rows = tuple[Places, Places, Tensor, Tensor, Tensor]
"""Of n places of the occluder: indices of its row and column; total, probability, top class."""


@dataclass(frozen=True)
class Occluder:
    """A square of one colour.

    Attributes:
        size: its side, in pixels of the net's input.
        stride: pixels from one place to the next; the last place is flush with the end.
        value: of each channel, or one for all of them, normalised; zero is the mean.
    """

    size: int = 27
    stride: int = 7
    value: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class Sensitivity:
    """What a net made of one image under R × Q places of the occluder.

    Attributes:
        tops: (R,) the occluder's first row at each place.
        lefts: (Q,) its first column.
        feature_map: the map that was strongest without occluder, by its largest activation; of
            those that are cut off alike, by what it was before.
        place: (y, x) of that activation in the map.
        activation: that activation.
        label: the class that `probability` is of.
        base_total: the map's total activation without occluder.
        base_probability: of the class, without occluder.
        base_class: the most probable class without occluder.
        total: (R, Q) the map's total activation, summed over the map, float32 or float64.
        probability: (R, Q) of the class.
        top_class: (R, Q) the most probable class, int64.
    """

    tops: Places
    lefts: Places
    feature_map: int
    place: tuple[int, int]
    activation: float
    label: int
    base_total: float
    base_probability: float
    base_class: int
    total: NDArray[np.floating]
    probability: NDArray[np.floating]
    top_class: NDArray[np.int64]


@dataclass(frozen=True)
class Without:
    """What a net makes of one image without occluder; what is in `Sensitivity` is meant so.

    Attributes:
        base: its maps.
        feature_map: the map that is strongest.
        place: (y, x) of its activation in the map.
        activation: that activation.
        total: the map's total activation.
        label: the class that `probability` is of.
        probability: of that class.
        top_class: the most probable class.
    """

    base: Base
    feature_map: int
    place: tuple[int, int]
    activation: float
    total: float
    label: int
    probability: float
    top_class: int


class Occlusion:
    """A net prepared for one occluder, for any number of images.

    Args:
        module: the whole net, (N, C, H, W) to (N, classes).
        layer: the layer whose strongest map is watched.
        input_size: (H, W) of the net's input.
        occluder: the square.
        channels: C of the net's input.

    Raises:
        ValueError: the net cannot be traced, or the occluder does not fit the input.
    """

    def __init__(
        self,
        module: nn.Module,
        layer: Layer,
        input_size: Pair,
        occluder: Occluder | None = None,
        channels: int = 3,
    ) -> None:
        self.occluder = occluder or Occluder()
        self.layer = layer
        self.net: WholeNet = trace_whole(module, input_size, channels)
        size, stride = self.occluder.size, self.occluder.stride
        self.tops, self.lefts = (positions(side, size, stride) for side in input_size)
        rows, columns = occluder_changes(self.net, size, stride)
        self.incremental = Incremental(self.net, [layer.step])
        self.groups = self.incremental.groups(rows, columns)

    def operations(self) -> Operations:
        """How much there is to compute both ways: the limit of what `incremental` can gain."""
        return count(self.net, self.occluder.size, self.occluder.stride)

    def measure(
        self, image: Tensor, label: int | None = None, method: Method = "incremental"
    ) -> Sensitivity:
        """Slide the occluder over one image.

        Args:
            image: (C, H, W), normalised, on the device of the net.
            label: the correct class; the most probable one without occluder if not given.
            method: compute only what changes, or every position from the pixels on. The results
                are the same to the accuracy of the net's floating-point numbers.

        Raises:
            ValueError: the net has no such class.
        """
        with torch.inference_mode():
            without = self.without(image, label)
            found = (
                self.incrementally(without)
                if method == "incremental"
                else self.fully(image, without.feature_map, without.label)
            )
            total, probability, top_class = self._collect(found, image)
        return Sensitivity(
            tops=self.tops,
            lefts=self.lefts,
            feature_map=without.feature_map,
            place=without.place,
            activation=without.activation,
            label=without.label,
            base_total=without.total,
            base_probability=without.probability,
            base_class=without.top_class,
            total=total.cpu().numpy(),
            probability=probability.cpu().numpy(),
            top_class=top_class.cpu().numpy(),
        )

    @torch.inference_mode()
    def without(self, image: Tensor, label: int | None = None) -> Without:
        """What the net makes of an image (C, H, W), normalised, without occluder.

        Args:
            image: as for `measure`.
            label: likewise.

        Raises:
            ValueError: as `measure`.
        """
        image = image[None].contiguous(memory_format=torch.channels_last)
        base, tapped, logits = self.incremental.base(image)
        if label is not None and not 0 <= label < logits.shape[1]:
            raise ValueError(f"the net has classes 0 to {logits.shape[1] - 1}, not {label}")
        (layer,) = tapped.values()
        values, places = strongest(layer.before)
        chosen = int(values[0].argmax())
        strongest_map = layer.maps[0, chosen]
        place = divmod(int(places[0, chosen]), strongest_map.shape[1])
        softmax = logits[0].softmax(0)
        top_class = int(softmax.argmax())
        label = label if label is not None else top_class
        return Without(
            base=base,
            feature_map=chosen,
            place=place,
            activation=float(strongest_map[place]),
            total=float(strongest_map.sum()),
            label=label,
            probability=float(softmax[label]),
            top_class=top_class,
        )

    def _collect(self, found: Iterator[Rows], image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shape = len(self.tops), len(self.lefts)
        total, probability = image.new_empty(shape), image.new_empty(shape)
        top_class = torch.empty(shape, dtype=torch.int64, device=image.device)
        for y, x, totals, probabilities, classes in found:
            at = torch.from_numpy(y).to(image.device), torch.from_numpy(x).to(image.device)
            total[at], probability[at], top_class[at] = totals, probabilities, classes
        return total, probability, top_class

    def incrementally(self, without: Without) -> Iterator[Rows]:
        """Windows of what changes, then whole maps, many at a time.

        Args:
            without: of the image, from `without`.
        """
        value = without.base.like.new_tensor(self.occluder.value)
        chosen = {self.layer.step: torch.tensor([without.feature_map], device=value.device)}
        size = self.occluder.size, self.occluder.size
        chunks = self.incremental.chunks(without.base, value, size, self.groups, chosen)
        for batch in _gathered(chunks):
            y, x = np.concatenate([c.y for c in batch]), np.concatenate([c.x for c in batch])
            logits, tapped = self.incremental.finish(batch, chosen)
            yield y, x, *_read(logits, tapped[self.layer.step][:, 0], without.label)

    def fully(
        self,
        image: Tensor,
        chosen: int,
        label: int,
        at_once: int = 32,
        places: tuple[Places, Places] | None = None,
    ) -> Iterator[Rows]:
        """Every occluded image from the pixels on: the reference, and the rival in benchmarks.

        Args:
            image: (C, H, W), normalised.
            chosen: the feature map to sum.
            label: the class whose probability is wanted.
            at_once: images in a batch.
            places: rows and columns of the occluder's places, (n,) each; all if not given.
        """
        whole_net = tail(self.net, (), (), [self.layer.step])
        every = np.indices((len(self.tops), len(self.lefts)))
        y, x = places or (every[0].ravel(), every[1].ravel())
        for first in range(0, len(y), at_once):
            part = slice(first, first + at_once)
            logits, (maps,) = whole_net(self.occluded(image, y[part], x[part]))
            yield y[part], x[part], *_read(logits, maps[:, chosen], label)

    def occluded(self, image: Tensor, y: Places, x: Places) -> Tensor:
        """Copies of an image (C, H, W), each occluded at the y-th top and the x-th left."""
        copies = image.repeat(len(y), 1, 1, 1).contiguous(memory_format=torch.channels_last)
        value = image.new_tensor(self.occluder.value)[:, None, None]
        size = self.occluder.size
        for copy, top, left in zip(
            copies, self.tops[y].tolist(), self.lefts[x].tolist(), strict=True
        ):
            copy[:, top : top + size, left : left + size] = value
        return copies


def _gathered(chunks: Iterator[Chunk]) -> Iterator[list[Chunk]]:
    """Chunks together until they are a batch for the tail."""
    batch: list[Chunk] = []
    held = 0
    for chunk in chunks:
        batch.append(chunk)
        held += sum(maps.nbytes for maps in chunk.frontier)
        if held >= _TAIL_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _read(logits: Tensor, maps: Tensor, label: int) -> tuple[Tensor, Tensor, Tensor]:
    """Total activation, probability of the label and top class; maps are (n, H, W)."""
    return maps.sum((1, 2)), logits.softmax(1)[:, label], logits.argmax(1)
