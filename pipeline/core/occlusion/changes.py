"""What an occluder changes: the window of every step's output that can come out different.

Going up, an operation of kernel size k, stride s, padding p and dilation d turns the places
``first … stop - 1`` that changed into those whose kernels touch one of them,

    first' = ceil((first + p - d * (k - 1)) / s),  stop' = floor((stop - 1 + p) / s) + 1,

cut to the map. Pointwise operations change what their inputs change, a concatenation or a sum
what any of its inputs changes, and everything else (a linear layer, a global pool, a gate) the
whole map. Rows and columns are independent of each other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.graph.spelling import Spelling
from pipeline.core.graph.steps import (
    Add,
    Affine,
    AvgPool,
    Concat,
    Conv,
    Input,
    Kernel,
    MaxPool,
    Pass,
    Rectify,
    Scale,
    Step,
)
from pipeline.core.graph.whole_net import WholeNet

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Spans:
    """Along one axis of a map, what each of P occluders can change.

    Attributes:
        first: (P,) the first place.
        stop: (P,) behind the last one; not above `first` where nothing changes.
    """

    first: Places
    stop: Places

    @classmethod
    def whole(cls, places: int, occluders: int) -> "Spans":
        """The whole map, for every occluder."""
        first = np.zeros(occluders, np.int64)
        return cls(first, first + places)

    @property
    def sizes(self) -> Places:
        """(P,) how many places."""
        sizes: Places = np.maximum(self.stop - self.first, 0)
        return sizes

    def above(self, kernel: Kernel, axis: int, places: int) -> "Spans":
        """What changes in a map of so many places that a kernel makes of this one."""
        stride, padding = kernel.stride[axis], kernel.padding[axis]
        first = -((kernel.reach(axis) - 1 - padding - self.first) // stride)
        stop = (self.stop - 1 + padding) // stride + 1
        nothing = self.sizes == 0
        return Spans(
            np.where(nothing, 0, np.clip(first, 0, places)),
            np.where(nothing, 0, np.clip(stop, 0, places)),
        )

    def union(self, other: "Spans") -> "Spans":
        """The smallest spans that hold both."""
        ours, theirs = self.sizes > 0, other.sizes > 0
        first, stop = np.minimum(self.first, other.first), np.maximum(self.stop, other.stop)
        return Spans(
            np.where(ours & theirs, first, np.where(ours, self.first, other.first)),
            np.where(ours & theirs, stop, np.where(ours, self.stop, other.stop)),
        )


def is_local(step: Step) -> bool:
    """Whether each place of the output depends on a few places of each input alone."""
    return isinstance(
        step.op, Input | Conv | MaxPool | AvgPool | Affine | Rectify | Pass | Scale | Concat | Add
    )


def changes(net: WholeNet, axis: int, occluded: Spans) -> dict[str, Spans]:
    """For every step, what occluders change along one axis (0: rows, 1: columns).

    Args:
        net: the net.
        axis: rows or columns.
        occluded: what each occluder covers of the input.
    """
    found: dict[str, Spans] = {}
    for step in net.steps.values():
        places, occluders = step.shape[1 + axis], len(occluded.first)
        known = [found[name] for name in step.inputs if name in found]
        if isinstance(step.op, Input):
            found[step.name] = occluded
        elif not is_local(step) or len(known) < len(step.inputs):
            found[step.name] = Spans.whole(places, occluders)
        elif isinstance(step.op, Conv | MaxPool | AvgPool):
            found[step.name] = known[0].above(step.op.kernel, axis, places)
        else:
            spans = known[0]
            for other in known[1:]:
                spans = spans.union(other)
            found[step.name] = spans
    return found


# --- where the occluder stands ----------------------------------------------------------------


def positions(length: int, size: int, stride: int) -> Places:
    """Where an occluder's first row (or column) stands: 0, stride, 2 × stride and so on.

    A last place flush with the end is added where the stride leaves pixels uncovered, so every
    pixel is under some occluder: 30 places for 27 / 7 on 227 pixels, 0 … 196 and 200.

    Raises:
        ValueError: the occluder is larger than the image or empty, or the stride is below 1.
    """
    if not 1 <= size <= length:
        raise ValueError(f"an occluder of {size} pixels does not fit an image of {length}")
    if stride < 1:
        raise ValueError(f"a stride of {stride} never moves the occluder")
    regular = np.arange(0, length - size + 1, stride, dtype=np.int64)
    last = length - size
    return regular if regular[-1] == last else np.append(regular, last)


# --- what it costs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Operations:
    """Multiply-adds of convolutions and linear layers over all positions of the occluder.

    Attributes:
        full: every position computed from the pixels on.
        incremental: only what can change.
    """

    full: int
    incremental: int

    @property
    def limit(self) -> float:
        """How many times faster the incremental way can be, at the most."""
        return self.full / self.incremental


def count(net: WholeNet, size: int, stride: int) -> Operations:
    """Count the multiply-adds, exactly, for an occluder of `size` pixels moved by `stride`.

    The one pass without an occluder, which both ways need, is left out.
    """
    rows, columns = occluder_changes(net, size, stride)
    n = len(next(iter(rows.values())).first) * len(next(iter(columns.values())).first)
    full = incremental = n * sum(net.linear.values())
    for step, each in _convolutions(net):
        full += n * each * math.prod(step.shape[1:])
        spans = rows[step.name].sizes.sum(), columns[step.name].sizes.sum()
        incremental += each * int(spans[0]) * int(spans[1])
    return Operations(full, incremental)


def occluder_changes(
    net: WholeNet, size: int, stride: int
) -> tuple[dict[str, Spans], dict[str, Spans]]:
    """`changes` of the rows and of the columns for every position of a square occluder."""
    _, height, width = next(iter(net.steps.values())).shape
    rows, columns = (
        changes(net, axis, Spans(first, first + size))
        for axis, first in enumerate(positions(side, size, stride) for side in (height, width))
    )
    return rows, columns


def _convolutions(net: WholeNet) -> Iterator[tuple[Step, int]]:
    """Every convolution, and its multiply-adds for each place of its output."""
    spelling = Spelling.of(net.traced)
    for node in net.traced.graph.nodes:
        if spelling.is_conv(node):
            weight = spelling.modules[str(node.target)].weight
            assert isinstance(weight, Tensor)
            yield net.steps[node.name], weight.numel()
