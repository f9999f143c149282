"""Heaps against sorting everything; the strongest position against a plain search."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.core.heaps.topk import NOBODY, Bounds, Heaps, ranked, strongest

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

pytestmark = pytest.mark.usefixtures("one_thread")

few_values = st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0, 1.5])
any_value = st.floats(-1e6, 1e6, width=32)


@dataclass(frozen=True)
class Seen:
    """The per-image maxima of some images: values and places (N, M), samples (N,)."""

    values: Floats
    places: Integers
    samples: Integers
    low: Floats
    high: Floats

    @property
    def bounds(self) -> Bounds:
        low, high = torch.from_numpy(self.low), torch.from_numpy(self.high)
        return Bounds(low, high, torch.zeros(len(low), dtype=torch.bool))

    @property
    def activations(self) -> Floats:
        return np.clip(self.values, self.low, self.high)

    def batch(self, of: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        some = list(of)
        values, places = self.values[some], self.places[some]
        return tuple(map(torch.from_numpy, (values, places, self.samples[some])))  # type: ignore[return-value]


@st.composite
def seen(draw: st.DrawFn) -> Seen:
    images, maps = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    elements = draw(st.sampled_from([few_values, any_value]))
    values = draw(hnp.arrays(np.float32, (images, maps), elements=elements))
    if draw(st.booleans()):
        values[:, 0] = 0  # a dead map
    if draw(st.booleans()):
        values[:, -1] = -np.abs(values[:, -1]) - 1  # a map that is not rectified, below zero
    numbers = st.lists(
        st.integers(0, 10**12), min_size=images, max_size=images, unique=True
    )  # in any order, with gaps
    samples = np.array(draw(numbers))
    places = draw(hnp.arrays(np.int64, (images, maps), elements=st.integers(0, 99)))
    bounds = st.sampled_from([(0, np.inf), (0, 1), (-np.inf, np.inf), (-1, 1), (0.25, 2), (-2, 0)])
    low, high = np.array([draw(bounds) for _ in range(maps)], np.float32).T
    return Seen(values, places, samples, low, high)


@st.composite
def batches_of(draw: st.DrawFn, images: int) -> list[list[int]]:
    """Images in any order, cut anywhere."""
    order = draw(st.permutations(range(images)))
    cuts = sorted(draw(st.sets(st.integers(1, images - 1)))) if images > 1 else []
    bounds = zip([0, *cuts], [*cuts, images], strict=True)
    return [list(order[start:stop]) for start, stop in bounds]


def best_of(
    all_images: Seen, feature_map: int, k: int, bar: float | None = None
) -> list[tuple[float, int, int]]:
    """By sorting everything: (value, sample, place) of the first k of a map that fire."""
    rows = [
        (float(value), int(sample), int(place))
        for value, activation, sample, place in zip(
            all_images.values[:, feature_map],
            all_images.activations[:, feature_map],
            all_images.samples,
            all_images.places[:, feature_map],
            strict=True,
        )
        if (activation > 0 if bar is None else value > bar)
    ]
    return sorted(rows, key=lambda row: (-row[0], row[1]))[:k]


def held(heaps: Heaps, feature_map: int) -> list[tuple[float, int, int]]:
    columns = (heaps.values, heaps.samples, heaps.places)
    rows = list(zip(*(column[feature_map].tolist() for column in columns), strict=True))
    taken = [row for row in rows if row[1] != NOBODY]
    assert rows[: len(taken)] == taken  # empty places come last
    assert all(row[0] == float(heaps.bar[feature_map]) for row in rows[len(taken) :])
    return taken


@settings(max_examples=200, deadline=None)
@given(st.data(), seen(), st.integers(1, 40), st.sampled_from([None, -np.inf, 1.0]))
def test_heaps_equal_sorting_everything(
    data: st.DataObject, images: Seen, k: int, bar: float | None
) -> None:
    """Also of values below zero, where there is no bar; rectified or not is the same there."""
    count, maps = images.values.shape
    bars = None if bar is None else torch.full((maps,), bar)
    heaps = Heaps.empty(images.bounds, k, bars)
    for batch in data.draw(batches_of(count)):
        heaps.add(*images.batch(batch))
    for feature_map in range(maps):
        assert held(heaps, feature_map) == best_of(images, feature_map, k, bar)


@settings(max_examples=200, deadline=None)
@given(st.data(), seen())
def test_statistics_equal_numpys(data: st.DataObject, images: Seen) -> None:
    count = len(images.values)
    heaps = Heaps.empty(images.bounds, 3)
    for batch in data.draw(batches_of(count)):
        heaps.add(*images.batch(batch))
    activations = images.activations
    exact = activations.astype(np.float64)
    assert heaps.images == count
    np.testing.assert_array_equal(heaps.active, (exact > 0).sum(0))
    np.testing.assert_array_equal(heaps.peak, activations.max(0))
    np.testing.assert_allclose(heaps.total, exact.sum(0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(heaps.total_squares, (exact**2).sum(0), rtol=1e-12, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(seen(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_samples_may_come_in_any_order(images: Seen, k: int, random: object) -> None:
    """The same winners, whichever image came first; one at a time against all at once."""
    count = len(images.values)
    once, singly = Heaps.empty(images.bounds, k), Heaps.empty(images.bounds, k)
    once.add(*images.batch(range(count)))
    order = list(range(count))
    random.shuffle(order)  # type: ignore[attr-defined]
    for image in order:
        singly.add(*images.batch([image]))
    assert torch.equal(once.values, singly.values)
    assert torch.equal(once.samples, singly.samples)
    assert torch.equal(once.active, singly.active)


def test_the_total_order_by_hand() -> None:
    activations = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0, 0.0]])
    samples = torch.tensor([[9, 8, 4, 7, 5, NOBODY]])
    assert ranked(activations, samples).tolist() == [[3, 1, 2, 4, 0, 5]]


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_not_finite_is_never_forgotten(value: float, rectified: bool) -> None:
    """Whatever comes before and after; but a rectification makes zero of minus infinity."""
    low = torch.tensor([-torch.inf, 0.0, 0.0 if rectified else -torch.inf])
    high, squashed = torch.full_like(low, torch.inf), torch.zeros(3, dtype=torch.bool)
    heaps = Heaps.empty(Bounds(low, high, squashed), 2)
    values = torch.tensor([[1.0, 2.0, 0.0], [4.0, 1.0, -3.0], [3e38, 3e38, 3e38]])
    places, samples = torch.zeros(3, 3, dtype=torch.int64), torch.tensor([0, 1, 2])
    heaps.add(values, places, samples)
    assert heaps.finite
    bad = values.clone()
    bad[1, 2] = value
    heaps.add(bad, places, samples + 3)
    harmless = rectified and value == -torch.inf
    assert heaps.finite == harmless
    bad[1, 2] = -value
    heaps.add(values, places, samples + 6)
    heaps.add(bad if not harmless else values, places, samples + 9)
    assert heaps.finite == harmless


# --- the strongest position -------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 7), st.integers(1, 7)),
        elements=st.sampled_from([-3.0, -1.0, 0.0, 1.0]),
    ),
    st.booleans(),
)
def test_the_strongest_position_is_the_first_in_row_major_order(
    maps: Floats, channels_last: bool
) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    values, places = strongest(torch.from_numpy(maps).contiguous(memory_format=layout))
    flat = maps.reshape(*maps.shape[:2], -1)
    np.testing.assert_array_equal(values, flat.max(2))
    np.testing.assert_array_equal(places, flat.argmax(2))  # numpy's is the first one


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_strongest_position_does_not_hide_what_is_not_finite(
    value: float, channels_last: bool
) -> None:
    maps = torch.randn(2, 40, 13, 13, generator=torch.Generator().manual_seed(0))
    maps[1, 33, 5, 7] = value
    layout = torch.channels_last if channels_last else torch.contiguous_format
    values, _ = strongest(maps.contiguous(memory_format=layout))
    assert (~values.isfinite()).nonzero().tolist() == [[1, 33]]
