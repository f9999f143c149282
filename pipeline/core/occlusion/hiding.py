"""What a net makes of one image while any box of it is hidden: soon enough to follow a hand.

As `occlusion`, for one box at a time, of any size at any place, and with all layers watched: of
each the strongest activation of some feature maps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.graph.steps import Pair
from pipeline.core.graph.trace import Layer
from pipeline.core.graph.whole_net import trace_whole
from pipeline.core.occlusion.base import Base
from pipeline.core.occlusion.changes import Spans, changes
from pipeline.core.occlusion.incremental import Incremental

Box = tuple[int, int, int, int]
"""Top, left, bottom, right, in pixels of the net's input."""


@dataclass(frozen=True)
class Seen:
    """What a net makes of one image.

    Attributes:
        probabilities: (classes,).
        strongest: layer → (C,) the largest activation of each of its maps.
        base: its maps, for `Hiding.hide`; None of an image of which a box is hidden.
    """

    probabilities: Tensor
    strongest: dict[str, Tensor]
    base: Base | None = None


class Hiding:
    """A net prepared to have boxes of images hidden from it.

    Args:
        module: the whole net, (N, C, H, W) to (N, classes).
        layers: the layers that may be watched.
        input_size: (H, W) of the net's input.
        channels: C of the net's input.

    Raises:
        ValueError: the net cannot be traced.
    """

    def __init__(
        self, module: nn.Module, layers: Sequence[Layer], input_size: Pair, channels: int = 3
    ) -> None:
        self.input_size = input_size
        self.net = trace_whole(module, input_size, channels)
        self.steps = {layer.name: layer.step for layer in layers}
        self.incremental = Incremental(self.net, [*dict.fromkeys(self.steps.values())])

    @torch.inference_mode()
    def look(self, image: Tensor) -> Seen:
        """The whole image.

        Args:
            image: (C, H, W), normalised, on the device of the net.
        """
        image = image[None].contiguous(memory_format=torch.channels_last)
        base, tapped, logits = self.incremental.base(image)
        strongest = {name: tapped[step].maps[0].amax((1, 2)) for name, step in self.steps.items()}
        return Seen(logits[0].softmax(0), strongest, base)

    @torch.inference_mode()
    def hide(self, seen: Seen, box: Box, watched: Mapping[str, Sequence[int]]) -> Seen:
        """The image with a box of it in the mean colour.

        Args:
            seen: the whole image, from `look`.
            box: not empty, within the input.
            watched: layer → k of its feature maps.

        Returns:
            With (k,) strongest activations of each watched layer.

        Raises:
            ValueError: the box is empty, or reaches out of the input.
        """
        assert seen.base is not None, "a box is hidden from a whole image"
        top, left, bottom, right = box
        height, width = self.input_size
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(f"{box} is no box in {height} × {width} pixels")
        spans = (Spans(np.array([a]), np.array([b])) for a, b in ((top, bottom), (left, right)))
        rows, columns = (changes(self.net, axis, span) for axis, span in enumerate(spans))
        like = seen.base.like
        channels = {
            self.steps[name]: torch.tensor(maps, dtype=torch.int64, device=like.device)
            for name, maps in watched.items()
        }
        groups = self.incremental.groups(rows, columns)
        size = bottom - top, right - left
        chunks = self.incremental.chunks(seen.base, like.new_zeros(1), size, groups, channels)
        logits, tapped = self.incremental.finish(list(chunks), channels)
        strongest = {name: tapped[self.steps[name]][0].amax((1, 2)) for name in watched}
        return Seen(logits[0].softmax(0), strongest)
