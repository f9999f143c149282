"""What a position of a layer sees of the net's input: numbers, without torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]

Spans = tuple[tuple[int, int], ...]
"""For each position along an axis: the first place that it sees, and the one behind the last."""


@dataclass(frozen=True)
class ReceptiveField:
    """What each position of a layer sees of the net's input.

    Attributes:
        size: (rows, columns), in pixels of the input.
        stride: pixels between the fields of neighbouring positions; 0 for the whole input.
        start: where the field of position (0, 0) starts; negative where it reaches into padding.
        spans: of rows and columns, what each position sees, where the fields are of unequal size
            (as behind an upsampling); the others then say what holds for most.
    """

    size: Pair
    stride: Pair
    start: Pair
    spans: tuple[Spans, Spans] | None = None

    def boxes(
        self, y: NDArray[np.integer], x: NDArray[np.integer], input_size: Pair
    ) -> NDArray[np.int16]:
        """The fields of the positions (y, x), clipped to the input.

        Returns:
            (n, 4) of top, left, bottom, right in pixels of the input, half-open.
        """
        sides: list[NDArray[np.int64]] = []
        for position, axis in ((y, 0), (x, 1)):
            if self.spans is not None:
                sides.append(np.array(self.spans[axis], np.int64)[position].T)
                continue
            first = position.astype(np.int64) * self.stride[axis] + self.start[axis]
            sides.append(np.clip([first, first + self.size[axis]], 0, input_size[axis]))
        (top, bottom), (left, right) = sides
        return np.stack([top, left, bottom, right], axis=1).astype(np.int16)

    def centres(
        self, y: NDArray[np.integer], x: NDArray[np.integer], input_size: Pair
    ) -> NDArray[np.int16]:
        """What the positions (y, x) look at: the middles of their fields, within the input.

        Returns:
            (n, 2) of y, x in pixels of the input.
        """
        sides = []
        for position, axis in ((y, 0), (x, 1)):
            if self.spans is not None:
                middles = np.array(self.spans[axis], np.int64).sum(1)[position] // 2
            else:
                first = position.astype(np.int64) * self.stride[axis] + self.start[axis]
                middles = first + self.size[axis] // 2
            sides.append(np.clip(middles, 0, input_size[axis] - 1))
        return np.stack(sides, axis=1).astype(np.int16)
