"""Which windows of a layer lie in its net's maps, what they cost, and which seeds share them.

The window that a position reads of a map may reach over its border; what is outside need not be
computed. Seeds that go together compute one window relative to their positions: all places that
are inside for any of them.
"""

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from torch import fx

from pipeline.core.graph.receptive_field import Window, Windows, windows
from pipeline.core.graph.steps import (
    AdaptiveMax,
    Conv,
    Gate,
    GlobalPool,
    Linear,
    Normalise,
    Pair,
    Product,
)
from pipeline.core.graph.trace import Graph, Layer

Places = NDArray[np.int64]

_NOT_LOCAL = (GlobalPool, Gate, Normalise, Product, Linear, AdaptiveMax)
"""Steps that look at whole maps on the way up, or that record what they scale by."""

_PER_WEIGHT = 16
_PER_STEP = 2_000_000
"""What another batch costs, in multiply-adds: weights are read again, and every operation is
called again (measured on one core; a factor of two either way changes little)."""


class Clipping:
    """The windows of one layer's positions.

    Attributes:
        is_local: whether windows are all that the way up needs: no step below looks at whole
            maps.
    """

    def __init__(self, graph: Graph, layer: Layer) -> None:
        seen = windows(graph, layer)
        steps = [graph.steps[name] for name in seen]
        self._names = list(seen)
        self._places = np.array([step.shape[1:] for step in steps]).T  # (2, steps)
        self._size, self._stride, self._start = (
            np.array([[getattr(side, what) for side in both] for both in seen.values()]).T
            for what in ("size", "stride", "start")
        )
        self._weights = np.array([_weights(step.op) for step in steps], np.int64)
        self._again = _PER_WEIGHT * int(self._weights.sum()) + _PER_STEP * len(steps)
        self.is_local = not any(isinstance(step.op, _NOT_LOCAL) for step in steps)

    def windows(self, first: Pair, last: Pair) -> dict[str, Windows]:
        """For every step that seeds of the positions first … last read: their window.

        It holds all places that are inside the map for one of them (and one place, if there is
        none); where it grows as large as the map it lies on, it is the map instead.
        """
        sides = [self._along(axis, first[axis], last[axis]) for axis in (0, 1)]
        rows, columns = sides
        return {name: (rows[number], columns[number]) for number, name in enumerate(self._names)}

    def work(self, y: Places, x: Places) -> Places:
        """(n,) multiply-adds of all convolutions on the windows of each position alone."""
        rows, columns = self._sizes(0, y, y), self._sizes(1, x, x)
        made: Places = self._weights @ (rows * columns)
        return made

    def batches(self, y: Places, x: Places) -> list[Places]:
        """Split seeds at the positions (n,), (n,) so that computing them costs least.

        Those at the border have less to compute than those in the middle, but if they go together
        they compute what one of them needs. A batch is cut in two, by rows or by columns, where
        that saves most, and each of the two again, until nothing is saved.

        Returns:
            Indices of the seeds of each batch.
        """
        return self._split(y, x, np.arange(len(y))) if len(y) else []

    def _split(self, y: Places, x: Places, which: Places) -> list[Places]:
        positions = (y[which], x[which])
        sizes = [self._sizes(axis, at.min(), at.max()) for axis, at in enumerate(positions)]
        least = len(which) * float(self._weights @ (sizes[0] * sizes[1]))
        best: tuple[Places, Places] | None = None
        for axis, at in enumerate(positions):
            if at.min() == at.max():
                continue
            cost, border = self._best_cut(axis, at, self._weights * sizes[1 - axis])
            if cost + self._again < least:
                least, best = cost + self._again, (which[at < border], which[at >= border])
        if best is None:
            return [which]
        return [batch for part in best for batch in self._split(y, x, part)]

    def _best_cut(self, axis: int, at: Places, weights: Places) -> tuple[float, int]:
        """The least cost of positions in two parts, and where the second one starts."""
        values, counts = np.unique(at, return_counts=True)
        before, after = values[:-1], values[1:]
        number = np.cumsum(counts)[:-1]
        cost = number * (weights @ self._sizes(axis, values[0], before))
        cost = cost + (len(at) - number) * (weights @ self._sizes(axis, after, values[-1]))
        best = int(cost.argmin())
        return float(cost[best]), int(after[best])

    def _sizes(self, axis: int, first: Places | np.int64, last: Places | np.int64) -> Places:
        """(steps, …): how large the windows of positions first … last are along an axis."""
        lowest, highest = self._inside(axis, np.asarray(first), np.asarray(last))
        places = self._places[axis].reshape(-1, *[1] * (lowest.ndim - 1))
        sizes: Places = np.minimum(highest - lowest, places)
        return sizes

    def _along(self, axis: int, first: int, last: int) -> list[Window]:
        lowest, highest = self._inside(axis, np.asarray(first), np.asarray(last))
        stride, start = self._stride[axis], self._start[axis]
        return [
            Window(places, 0, 0) if stop - begin >= places else Window(stop - begin, by, at)
            for begin, stop, places, by, at in zip(
                lowest.tolist(),
                highest.tolist(),
                self._places[axis].tolist(),
                stride.tolist(),
                (start + lowest).tolist(),
                strict=True,
            )
        ]

    def _inside(self, axis: int, first: Places, last: Places) -> tuple[Places, Places]:
        """(steps, …) the range of each window that is inside its map for a position of them."""
        shape = (-1, *[1] * max(first.ndim, last.ndim))
        size, stride, start, places = (
            of[axis].reshape(shape) for of in (self._size, self._stride, self._start, self._places)
        )
        lowest = np.clip(-(last * stride + start), 0, size - 1)
        highest = np.clip(places - (first * stride + start), lowest + 1, size)
        return lowest, highest


_KNOWN: WeakKeyDictionary[fx.GraphModule, dict[str, Clipping]] = WeakKeyDictionary()


def clipping_of(graph: Graph, layer: Layer) -> Clipping:
    """The windows of a layer, worked out once for as long as the net lives."""
    known = _KNOWN.setdefault(graph.trunk, {})
    if layer.name not in known:
        known[layer.name] = Clipping(graph, layer)
    return known[layer.name]


def multiply_adds(graph: Graph) -> dict[str, int]:
    """Of all convolutions, for one image: layer → of a pass up to it and all layers before it."""
    seen: set[str] = set()
    total, found = 0, {}
    for layer in graph.layers:
        ahead = [layer.step]
        while ahead:
            step = graph.steps.get(ahead.pop())
            if step is not None and step.name not in seen:
                seen.add(step.name)
                total += _weights(step.op) * step.shape[1] * step.shape[2]
                ahead += step.inputs
        found[layer.name] = total
    return found


def _weights(op: object) -> int:
    return op.module.weight.numel() if isinstance(op, Conv) else 0
