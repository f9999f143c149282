"""Where an activation stands among all images of a run: stronger than how many of them?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import schema
from pipeline.data.store import Store
from pipeline.data.stored.results import read_feature_map_table
from pipeline.data.stored.tables import gone, read_table
from pipeline.errors import RequestError


class Standing:
    """The distributions of a run's layers, held in memory.

    Args:
        run: where they are.
        layers: of the run.

    Raises:
        RequestError: the run is not mined to its end, or was mined by a version without them.
        IncompleteError: a table is damaged or gone.
    """

    def __init__(self, run: Store, layers: Sequence[str]) -> None:
        if not run.list(schema.DISTRIBUTIONS):
            raise RequestError(
                f"{run.url} does not tell how activations are spread; it was mined by an earlier "
                "version, so mine it into a new run."
            )
        stats = read_feature_map_table(run, ["layer", "images"])
        images = dict(zip(stats["layer"].to_pylist(), stats["images"].to_pylist(), strict=True))
        self._buckets = {layer: _buckets(run, layer) for layer in layers}
        self._images = {layer: images[layer] for layer in layers}

    def share_below(self, layer: str, feature_map: int, activation: float) -> float:
        """The share of the images, 0 to 1, whose largest activation of a map is below one.

        Within a bucket, a sixteenth of an octave wide, images count as evenly spread; those that
        do not activate the map are below any activation that does.

        Args:
            layer: one of those held.
            feature_map: which of its maps.
            activation: after rectification; of 0 the share is 0.

        Raises:
            KeyError: the layer is not held.
        """
        if activation <= 0:
            return 0.0
        maps, *columns = self._buckets[layer]
        first, last = np.searchsorted(maps, [feature_map, feature_map + 1])
        lower, upper, counts = (column[first:last].astype(np.float64) for column in columns)
        images = self._images[layer]
        inside = np.clip((activation - lower) / (upper - lower), 0, 1)
        return float((images - counts.sum() + (inside * counts).sum()) / images)


def _buckets(run: Store, layer: str) -> list[NDArray[np.number]]:
    """The columns of a layer's distributions; their rows are in the order of the maps."""
    name = schema.of_layer(schema.DISTRIBUTIONS, layer)
    try:
        table = read_table(run, name, schema.DISTRIBUTION)
    except FileNotFoundError as error:
        raise gone(run, name) from error
    return [table[column].to_numpy() for column in schema.DISTRIBUTION.names]
