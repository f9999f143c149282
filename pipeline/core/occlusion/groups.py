"""How the windows of many occluders share a size, so that they make one batch."""

from dataclasses import dataclass

import numpy as np

from pipeline.core.occlusion.changes import Places, Spans


@dataclass(frozen=True)
class Group:
    """Places of the occluder along one axis whose windows have one size at each step.

    Attributes:
        members: (m,) indices of the places.
        first: step → (m,) where each one's window starts.
        size: step → places of the window.
    """

    members: Places
    first: dict[str, Places]
    size: dict[str, int]


def grouped(
    spans: dict[str, Spans], lengths: dict[str, int], weights: dict[str, float], most: int
) -> list[Group]:
    """Sort the places of the occluder into at most so many groups, by the sizes of their windows.

    Starting from places with the same sizes at every step, the two groups that cost least to put
    together are put together.

    Args:
        spans: of every windowed step, what each place changes.
        lengths: places of each step's map.
        weights: of each step, what a place of the window costs.
        most: groups.
    """
    sizes = np.stack([np.maximum(spans[name].sizes, 1) for name in spans], axis=1)
    cost = np.array([weights[name] for name in spans])
    distinct, which = np.unique(sizes, axis=0, return_inverse=True)
    which = which.ravel()
    tops = list(distinct)
    members = [np.flatnonzero(which == number) for number in range(len(tops))]

    def added(pair: tuple[int, int]) -> float:
        a, b = pair
        top = np.maximum(tops[a], tops[b])
        return float(
            len(members[a]) * ((top - tops[a]) @ cost) + len(members[b]) * ((top - tops[b]) @ cost)
        )

    while len(tops) > most:
        pairs = [(a, b) for a in range(len(tops)) for b in range(a)]
        a, b = min(pairs, key=added)
        tops[b] = np.maximum(tops[a], tops[b])
        members[b] = np.sort(np.concatenate([members[a], members[b]]))
        del tops[a], members[a]
    return [
        _group(spans, lengths, chosen, dict(zip(spans, top.tolist(), strict=True)))
        for chosen, top in zip(members, tops, strict=True)
    ]


def _group(
    spans: dict[str, Spans], lengths: dict[str, int], members: Places, size: dict[str, int]
) -> Group:
    first = {
        name: np.minimum(of_step.first[members], lengths[name] - size[name])
        for name, of_step in spans.items()
    }
    return Group(members, first, size)
