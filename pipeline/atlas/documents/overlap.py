"""Which feature maps have the same pictures among their winners."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.atlas.documents.content import Content

_NEAREST = 6
"""Maps that are named: of the same layer, and of the others."""

_FEWEST = 2
"""Pictures in common: one is easily chance."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Overlap:
    """For each picture the maps that it is a winner of, and for each map its pictures.

    Attributes:
        offsets: number of each layer's first map, and the count of all.
        maps: of each winner, by picture.
        of_picture: where each picture's winners start in `maps`.
        pictures: of each winner, by map.
        of_map: where each map's winners start in `pictures`.
    """

    offsets: Integers
    maps: Integers
    of_picture: Integers
    pictures: Integers
    of_map: Integers

    @classmethod
    def of(cls, content: Content) -> "Overlap":
        """Of all winners that are shown."""
        offsets, winners = content.offsets, content.winners
        maps = offsets[winners["layer"].to_numpy()] + winners["feature_map"].to_numpy()
        distinct, pictures = np.unique(winners["sample"].to_numpy(), return_inverse=True)
        order = np.argsort(pictures, kind="stable")
        of_picture = np.searchsorted(pictures[order], np.arange(len(distinct) + 1))
        of_map = np.searchsorted(maps, np.arange(offsets[-1] + 1))  # they come by map
        return cls(offsets, maps[order], of_picture, pictures, of_map)

    def nearest(self, layer: int, feature_map: int) -> list[list[int]]:
        """The maps with most pictures in common with one, of its own layer first.

        Returns:
            Layer, map and how many pictures they share.
        """
        this = self.offsets[layer] + feature_map
        mine = self.pictures[self.of_map[this] : self.of_map[this + 1]]
        sharing = [self.maps[self.of_picture[p] : self.of_picture[p + 1]] for p in mine]
        others = np.concatenate([np.empty(0, np.int64), *sharing])
        found, shared = np.unique(others[others != this], return_counts=True)
        found, shared = found[shared >= _FEWEST], shared[shared >= _FEWEST]
        layers = np.searchsorted(self.offsets, found, side="right") - 1
        order = np.lexsort([found, -shared])
        near = [
            [*order[layers[order] == layer][:_NEAREST]],
            [*order[layers[order] != layer][:_NEAREST]],
        ]
        return [
            [int(layers[n]), int(found[n] - self.offsets[layers[n]]), int(shared[n])]
            for some in near
            for n in some
        ]
