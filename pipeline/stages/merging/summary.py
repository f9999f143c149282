"""What statistics come to: columns of the feature maps' table, and tables of a layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.core.heaps.selectivity import class_entropy, selectivity
from pipeline.core.heaps.statistics import edges, quantiles
from pipeline.data.class_names import class_synset
from pipeline.data.wordnet.hierarchy import common_ancestor, synsets
from pipeline.stages.merging.known import Known

_MOST_CLASSES = 4096
"""Of more classes nothing is said: a row for each of them and each map would be too much."""


@dataclass(frozen=True)
class _ByClass:
    """Sums of C classes in order, and M maps.

    Attributes:
        labels: the number of each class, None where it has none.
        names: likewise.
        images: (C,) of each.
        active: (C, M) of these with an activation above zero.
        means: (C, M) of the activations.
    """

    labels: Sequence[int | None]
    names: Sequence[str | None]
    images: NDArray[np.int64]
    active: NDArray[np.int64]
    means: NDArray[np.float64]

    @classmethod
    def of(cls, known: Known) -> "_ByClass":
        """Those that are known, unless there are too many."""
        order, rows = known.classes.in_order()
        if len(order) > _MOST_CLASSES:
            order, rows = [], rows[:0]
        labels, names = zip(*order, strict=True) if order else ((), ())
        images = known.classes.images[rows]
        means = known.classes.totals[rows] / images[:, None]
        return cls(labels, names, images, known.classes.active[rows], means)

    def columns(self) -> dict[str, Any]:
        """Of the feature maps' table."""
        maps = self.means.shape[1]
        best = self.means.argmax(0) if len(self.images) else np.zeros(maps, np.int64)
        index = selectivity(self.means)
        best = pa.array(best, mask=~np.isfinite(index))
        return {
            "selectivity": pa.array(index, from_pandas=True),
            "class_entropy": pa.array(class_entropy(self.means), from_pandas=True),
            "best_class": pa.array(self.labels, pa.int32()).take(best),
            "best_class_name": pa.array(self.names, pa.string()).take(best),
            "common_ancestor": pa.nulls(maps, pa.string()),  # until the winners are known
        }

    def table(self, maps: slice) -> pa.Table:
        """A row for each of some maps and each class."""
        classes, numbers = len(self.images), np.arange(maps.stop - maps.start)
        columns = {
            "feature_map": np.repeat(numbers, classes),
            "label": pa.array(self.labels, pa.int32()).take(_over(classes, numbers)),
            "class_name": pa.array(self.names, pa.string()).take(_over(classes, numbers)),
            "images": np.tile(self.images, len(numbers)),
            "active": self.active[:, maps].T.ravel(),
            "mean": self.means[:, maps].T.ravel(),
        }
        return schema.table_of(columns, schema.OF_CLASS)


def _over(classes: int, numbers: NDArray[np.int64]) -> pa.Array:
    return pa.array(np.tile(np.arange(classes), len(numbers)))


def with_ancestors(
    feature_maps: pa.Table, winners: pa.Table, owners: NDArray[np.int64]
) -> pa.Table:
    """The feature maps' table with what the classes of each map's winners have in common.

    Args:
        feature_maps: M rows.
        winners: with their label and name.
        owners: the row of each one's map.
    """
    labels = winners.select(["label", "class_name"]).to_pydict()
    of_maps: dict[int, set[str | None]] = {}
    for owner, label, name in zip(owners.tolist(), *labels.values(), strict=True):
        of_maps.setdefault(owner, set()).add(class_synset(label, name))
    names = [_common(of_maps.get(row, set())) for row in range(len(feature_maps))]
    place = feature_maps.column_names.index("common_ancestor")
    return feature_maps.set_column(place, "common_ancestor", pa.array(names, pa.string()))


def _common(wnids: set[str | None]) -> str | None:
    known = {wnid for wnid in wnids if wnid is not None}
    if len(known) < len(wnids):  # of another class nothing is known
        return None
    found = common_ancestor(known)
    return None if found is None else synsets()[found].name


class Summary:
    """What is said of the maps of some layers.

    Args:
        known: of them.
        images: (M,) that were seen.
    """

    def __init__(self, known: Known, images: NDArray[np.int64]) -> None:
        self._known, self._images = known, images
        self._by_class = _ByClass.of(known)

    def columns(self) -> dict[str, Any]:
        """Of the feature maps' table."""
        found = quantiles(self._known.counts, self._images, list(schema.QUANTILES.values()))
        spread = dict(zip(schema.QUANTILES, found.T, strict=True))
        return spread | self._by_class.columns()

    def _maps(self, layer: str) -> slice:
        rows = np.flatnonzero(self._known.maps["layer"].to_numpy() == layer)
        return slice(int(rows[0]), int(rows[-1]) + 1)

    def classes(self, layer: str) -> pa.Table:
        """A row for each map of a layer and each class."""
        return self._by_class.table(self._maps(layer))

    def distribution(self, layer: str) -> pa.Table:
        """A row for each map of a layer and each bucket that has images."""
        counts, ends = self._known.counts[self._maps(layer)], edges()
        numbers, buckets = counts.nonzero()
        columns = {
            "feature_map": numbers,
            "lower": ends[:-1][buckets],
            "upper": ends[1:][buckets],
            "images": counts[numbers, buckets],
        }
        return schema.table_of(columns, schema.DISTRIBUTION)

    def examples(self, layer: str, at: Sequence[float]) -> pa.Table:
        """For each map of a layer and each quantile the kept sample that is nearest to it.

        Of two whose activations are as near, the first of the dataset. A quantile at which a map
        is not active has no example: what does not activate it says nothing of it.

        Returns:
            Rows of what is known of each sample, the entry, `feature_map`, `rank` (of the quantile,
            from the highest) and `quantile`.
        """
        maps = self._maps(layer)
        wanted = quantiles(self._known.counts[maps], self._images[maps], at)
        activations = self._known.entries["activation"][maps]
        found = [_nearest(activations, of_all) for of_all in wanted.T]
        none = np.empty(0, np.int64)
        owner = np.concatenate([none, *(numbers for numbers, _ in found)])
        sample = np.concatenate([none, *(samples for _, samples in found)])
        quantile = np.repeat(np.array(at, np.float32), [len(numbers) for numbers, _ in found])
        order = np.lexsort((-quantile, owner))
        owner, sample = owner[order], sample[order]
        rows = self._known.kept.take(sample)
        for name, values in self._known.entries.items():
            entry = pa.array(values[maps][owner, sample], from_pandas=True)
            rows = rows.append_column(name, entry)
        numbers = {share: number for number, share in enumerate(sorted(at, reverse=True), 1)}
        ranks = np.repeat([numbers[share] for share in at], [len(each) for each, _ in found])
        rows = rows.append_column("feature_map", pa.array(owner))
        rows = rows.append_column("rank", pa.array(ranks[order]))
        return rows.append_column("quantile", pa.array(quantile[order]))


def _nearest(
    activations: NDArray[Any], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Maps that are active at a quantile, and the sample that is nearest to it there."""
    gaps = np.where(activations > 0, np.abs(activations - wanted[:, None]), np.inf)
    if not gaps.shape[1]:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    nearest = gaps.argmin(1)
    there = np.flatnonzero((wanted > 0) & np.isfinite(gaps.min(1)))
    return there, nearest[there]
