"""Statistics against all values at once, whatever the batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.heaps import statistics as module
from pipeline.core.heaps.selectivity import class_entropy, selectivity
from pipeline.core.heaps.statistics import (
    BUCKETS,
    UNKNOWN,
    Class,
    Statistics,
    edges,
    lots,
    quantiles,
    share_classed,
    share_kept,
)
from pipeline.core.heaps.topk import Bounds

MAPS = 5
SHARES = (0.001, 0.1, 0.5, 0.9, 0.99, 1.0)


def relu(maps: int = MAPS) -> Bounds:
    return Bounds(torch.zeros(maps), torch.full((maps,), torch.inf), torch.zeros(maps).bool())


def drawn_values(images: int, seed: int, scale: float = 3.0) -> Tensor:
    """Of several orders of magnitude; one map is dead, one is active on few."""
    random = torch.Generator().manual_seed(seed)
    values = torch.exp(scale * torch.randn(images, MAPS, generator=random))
    values[:, 0] = -1.0
    values[:, 1] *= torch.rand(images, generator=random) < 0.1
    return values


def counted(values: Tensor, sizes: list[int], classes: list[Class] | None = None) -> Statistics:
    """In batches of these sizes; the rest in one."""
    made = Statistics.empty(relu(values.shape[1]), kept=0.25, classed=1.0)
    start = 0
    for size in [*sizes, len(values)]:
        batch = values[start : start + size]
        if not len(batch):
            break
        positions = np.arange(start, start + len(batch))
        labels = classes[start : start + size] if classes else [UNKNOWN] * len(batch)
        places = (batch * 10).long()
        made.add(batch, places, positions, lots("a part", positions), labels)
        start += len(batch)
    return made


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(0, 10_000),
    st.sampled_from([0.01, 1.0, 3.5]),
    st.lists(st.integers(1, 50), max_size=5),
)
def test_quantiles_are_off_by_a_thirtysecond_at_most(
    images: int, seed: int, scale: float, sizes: list[int]
) -> None:
    values = drawn_values(images, seed, scale)
    made = counted(values, sizes)
    assert torch.equal(made.counts, counted(values.flip(0), []).counts)
    found = quantiles(made.counts.numpy(), np.full(MAPS, images), SHARES)
    exact = np.quantile(values.clamp_min(0).double(), SHARES, axis=0, method="inverted_cdf").T
    assert (found >= 0).all()
    np.testing.assert_array_less(np.abs(found - exact), exact / 32 + 1e-12)


def test_what_lies_outside_counts_at_the_ends() -> None:
    values = torch.tensor([[1e-9], [2.0**-20], [1.0], [2.0**20], [1e30]])
    counts = counted(values, []).counts[0]
    assert counts.sum() == 5
    assert counts[0] == 2
    assert counts[-1] == 2
    ends = edges()
    assert len(ends) == BUCKETS + 1
    assert ends[[0, -1]].tolist() == [2.0**-20, 2.0**20]
    assert (np.diff(ends) / ends[:-1]).max() <= 1 / 16


def test_quantiles_of_values_that_rectification_cuts_off() -> None:
    bounds = Bounds(torch.zeros(1), torch.full((1,), 6.0), torch.zeros(1).bool())
    made = Statistics.empty(bounds, 0.0, 0.0)
    values = torch.tensor([[3.0], [9.0], [100.0], [-5.0]])
    made.add(values, values.long(), np.arange(4), np.zeros(4), [UNKNOWN] * 4)
    found = quantiles(made.counts.numpy(), np.array([4]), [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(found[0], [0, 3, 6, 6], rtol=1 / 32)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 120),
    st.integers(0, 10_000),
    st.integers(1, 30),
    st.lists(st.integers(1, 50), max_size=5),
)
def test_sums_by_class(images: int, seed: int, count: int, sizes: list[int]) -> None:
    values = drawn_values(images, seed, 1.0)
    numbers = np.random.default_rng(seed).integers(-1, count, images)
    classes: list[Class] = [UNKNOWN if n < 0 else (int(n), f"class {n}") for n in numbers]
    made = counted(values, sizes, classes)
    assert set(made.classes) == set(classes) - {UNKNOWN}
    exact = values.clamp_min(0).double().numpy()
    for row, of_images in enumerate(made.classes):
        own = exact[numbers == of_images[0]]
        assert made.images[row] == len(own)
        np.testing.assert_allclose(made.total[row], own.sum(0), rtol=1e-5)
        assert made.active[row].tolist() == (own > 0).sum(0).tolist()
    assert not made.total[len(made.classes) :].any()


def test_which_images_are_kept_follows_from_their_places_alone() -> None:
    values = drawn_values(400, 1)
    one, other = counted(values, []), counted(values, [7, 31, 100])
    drawn = lots("a part", np.arange(400))
    assert one.positions == other.positions == np.flatnonzero(drawn < 0.25).tolist()
    assert one.lots == drawn[one.positions].tolist()
    for mine, others in zip(one.kept_values(), other.kept_values(), strict=True):
        assert torch.equal(mine, others)
    assert torch.equal(one.kept_values()[0], values[one.positions])
    assert torch.equal(one.kept_values()[1], (values[one.positions] * 10).int())


def test_lots_are_spread_evenly_and_stay_as_they_are() -> None:
    """A run that goes on with another version has to keep the same images."""
    drawn = lots("part-00000", np.arange(100_000))
    shares = np.histogram(drawn, 20, (0, 1))[0] / len(drawn)
    assert np.abs(shares - 0.05).max() < 0.003
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(drawn, lots("part-00001", np.arange(100_000)))[0, 1]) < 0.02
    assert [round(float(lot), 6) for lot in drawn[:4]] == [0.25257, 0.562356, 0.153869, 0.78096]


def test_shares() -> None:
    assert share_kept(10) == 1.0
    assert share_kept(51_200) == pytest.approx(0.01)
    assert share_classed(0, 0, 1152) == 1.0
    assert share_classed(64, 64, 3944) == 1.0
    assert share_classed(1281, 20, 1152) == 1.0  # of a folder with its classes one by one
    assert share_classed(1281, 1281, 1152) == pytest.approx(module._CELLS / 1281 / 1152)
    assert share_classed(1281, 1281, 22_720) == pytest.approx(48 / 1281)


def test_classes_are_counted_by_a_share_of_the_images() -> None:
    values, positions = drawn_values(300, 3), np.arange(300)
    made = Statistics.empty(relu(), kept=0.0, classed=0.5)
    drawn = lots("a part", positions)
    made.add(values, values.long(), positions, drawn, [(n % 2, None) for n in positions])
    used = drawn < 0.5
    assert sorted(made.images) == sorted([used[::2].sum(), used[1::2].sum()])
    row = made.rows[1, None]
    expected = values.clamp_min(0).numpy()[(positions % 2 == 1) & used].sum(0)
    np.testing.assert_allclose(made.total[row], expected, rtol=1e-5)
    assert made.counts.sum() == (values > 0).sum()  # all images


Floats = NDArray[np.float64]


def test_selectivity_and_entropy() -> None:
    means: Floats = np.array(
        [
            [1.0, 4.0, 0.0, 2.0, -1.0, 0.0],
            [1.0, 0.0, 0.0, 1.0, 3.0, np.nan],
            [1.0, 0.0, 0.0, 0.0, 0.0, 5.0],
            [1.0, 0.0, 0.0, 1.0, 0.0, 5.0],
        ]
    )
    index, entropy = selectivity(means), class_entropy(means)
    assert index[:2].tolist() == [0.0, 1.0]
    assert entropy[:2].tolist() == [2.0, 0.0]
    rest = 2 / 3
    assert index[3] == pytest.approx((2 - rest) / (2 + rest))
    assert entropy[3] == pytest.approx(1.5)
    assert np.isnan(index[[2, 4]]).all()  # dead, or below zero
    assert np.isnan(entropy[[2, 4]]).all()
    assert index[5] == pytest.approx((5 - 2.5) / (5 + 2.5))  # of three classes
    assert entropy[5] == pytest.approx(1.0)
    for none in (means[:1], means[:0]):  # nothing is said of one class, or none
        assert np.isnan(selectivity(none)).all()
        assert np.isnan(class_entropy(none)).all()
