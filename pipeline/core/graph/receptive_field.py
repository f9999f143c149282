"""Receptive fields of any layer, derived from the graph.

Going down from one position, each operation widens the window of positions that it reads:
for a kernel of size k, stride s, padding p and dilation d, a window of `size` positions that
starts at ``stride * y + start`` becomes, one step below,

    size' = (size - 1) * s + d * (k - 1) + 1,  stride' = stride * s,  start' = start * s - p.

Where branches meet again, the window is the union of theirs.
"""

from dataclasses import dataclass

from pipeline.core.field import ReceptiveField, Spans
from pipeline.core.graph.places import spans
from pipeline.core.graph.steps import (
    AdaptiveMax,
    AvgPool,
    Conv,
    GlobalPool,
    Kernel,
    Linear,
    MaxPool,
    Op,
    Opaque,
    Pad,
    Pair,
)
from pipeline.core.graph.trace import Graph, Layer

_OF_UNEQUAL_SIZE = (Linear, AdaptiveMax, Opaque)
"""Steps whose positions need not see windows of equal size."""


@dataclass(frozen=True)
class Window:
    """Along one axis, what position y of a layer sees: `size` places from ``stride * y + start``.

    A stride of 0 stands for a window that does not move: the whole map.
    """

    size: int
    stride: int
    start: int

    def below(self, kernel: Kernel, axis: int) -> "Window":
        """The window that a kernel reads to make this one."""
        stride = kernel.stride[axis]
        return Window(
            (self.size - 1) * stride + kernel.reach(axis),
            self.stride * stride,
            self.start * stride - kernel.padding[axis],
        )

    def union(self, other: "Window") -> "Window":
        """The smallest window that holds both.

        Raises:
            ValueError: they move by different strides, as behind an upsampling.
        """
        if self.stride != other.stride and 0 not in (self.stride, other.stride):
            raise ValueError(f"branches of stride {self.stride} and {other.stride} meet")
        if self.stride != other.stride:  # one of them is the whole map
            return self if self.stride == 0 else other
        start = min(self.start, other.start)
        stop = max(self.start + self.size, other.start + other.size)
        return Window(stop - start, self.stride, start)


Windows = tuple[Window, Window]
"""Of the rows and of the columns."""


def windows(graph: Graph, layer: Layer) -> dict[str, Windows]:
    """For every step that one position of the layer reads: its window there, the layer's first."""
    seen: dict[str, Windows] = {layer.step: (Window(1, 1, 0), Window(1, 1, 0))}
    for step in reversed(graph.steps.values()):
        if step.name not in seen:
            continue
        for source in step.sources:
            size = graph.steps[source].shape[1:]
            lower = below(step.op, seen[step.name], size)
            known = seen.get(source, lower)
            seen[source] = lower[0].union(known[0]), lower[1].union(known[1])
    return seen


def receptive_field(graph: Graph, layer: Layer) -> ReceptiveField:
    """The receptive field of a layer in the net's input."""
    seen = windows(graph, layer)
    if any(isinstance(graph.steps[name].op, _OF_UNEQUAL_SIZE) for name in seen):
        return _of_spans(spans(graph, layer, 0), spans(graph, layer, 1))
    rows, columns = seen[next(iter(graph.steps))]
    return ReceptiveField(
        (rows.size, columns.size), (rows.stride, columns.stride), (rows.start, columns.start)
    )


def _of_spans(rows: Spans, columns: Spans) -> ReceptiveField:
    (height, down, top), (width, right, left) = map(_usual, (rows, columns))
    return ReceptiveField((height, width), (down, right), (top, left), (rows, columns))


def _usual(side: Spans) -> tuple[int, int, int]:
    """Size, stride and start of the spans along an axis, as near as whole numbers come."""
    size = max(stop - first for first, stop in side)
    return size, round((side[-1][1] - side[0][1]) / max(1, len(side) - 1)), side[0][0]


def whole_map(size: Pair) -> Windows:
    """The window that is the whole of a map."""
    return Window(size[0], 0, 0), Window(size[1], 0, 0)


def below(op: Op, upper: Windows, size: Pair) -> Windows:
    """What a window of an operation's output reads from its input of `size` (H, W)."""
    if isinstance(op, (GlobalPool, *_OF_UNEQUAL_SIZE)):
        return whole_map(size)
    if isinstance(op, Conv | MaxPool | AvgPool | Pad):
        return upper[0].below(op.kernel, 0), upper[1].below(op.kernel, 1)
    return upper
