"""The certificate against sorting everything, with errors that it assumes and others."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.core.heaps.certificate import RISK, first_look, judge, scale_of_errors, screen_depth

Floats = NDArray[np.float32]
Errors = Callable[[np.random.Generator, Floats], NDArray[np.float64]]

IMAGES, MAPS, K = 3000, 20, 9


@dataclass(frozen=True)
class Outcome:
    """What came of looking until nothing more was wanted.

    Attributes:
        certified: (M,).
        missed: (M,) true winners that were not looked at.
        looked: the share of all images that were.
        looks: how many there were.
    """

    certified: NDArray[np.bool_]
    missed: NDArray[np.int64]
    looked: float
    looks: int


def best(values: Floats, among: NDArray[np.bool_], k: int) -> set[int]:
    """By sorting: the first k images of one map that are above zero."""
    images = [int(image) for image in np.flatnonzero(among & (values > 0))]
    return set(sorted(images, key=lambda image: (-values[image], image))[:k])


def look(truth: Floats, screened: Floats, k: int = K, held: int | None = None) -> Outcome:
    """All looks at images whose values (N, M) are held in memory."""
    images, maps = truth.shape
    held = min(images, held or 4 * screen_depth(k))
    order = np.argsort(-screened, axis=0, kind="stable")[:held].T
    candidates = np.take_along_axis(screened.T, order, 1)
    exact = np.take_along_axis(truth.T, order, 1)
    below = candidates[:, -1] if held < images else np.full(maps, -np.inf, np.float32)
    near = slice(0, screen_depth(k))
    seen, certified, looks = np.zeros(images, bool), np.zeros(maps, bool), 0
    wanted = np.zeros(order.shape, bool)
    wanted[:, : first_look(k)] = True
    while wanted.any() and looks < 8:
        seen[order[wanted]] = True
        looked_at = seen[order]
        errors = np.where(looked_at, exact - candidates, np.nan)[:, near]
        ranked = -np.sort(-np.where(seen[:, None], truth, 0), axis=0)
        bars = np.maximum(ranked[k - 1], 0) if k <= images else np.zeros(maps, np.float32)
        outside = np.full((maps, 1), images - held)
        verdict = judge(
            candidates, looked_at, outside, below[:, None], bars, scale_of_errors(errors)
        )
        assert not (verdict.wanted & looked_at).any()
        assert not verdict.wanted[verdict.certified].any()
        certified, wanted, looks = verdict.certified, verdict.wanted, looks + 1
    everyone = np.ones(images, bool)
    missed = [
        len(best(truth[:, one], everyone, k) - best(truth[:, one], seen, k)) for one in range(maps)
    ]
    return Outcome(certified, np.array(missed), float(seen.mean()), looks)


def outcomes(seeds: int, errors: Errors, images: int = IMAGES) -> list[Outcome]:
    """Of runs whose true values are normal, (N, M)."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        truth = rng.standard_normal((images, MAPS)).astype(np.float32)
        found.append(look(truth, (truth + errors(rng, truth)).astype(np.float32)))
    return found


def normal(scale: float) -> Errors:
    return lambda rng, truth: scale * rng.standard_normal(truth.shape)


# --- errors as they are assumed to be ---------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1e-4, 0.01, 0.05, 0.1])
def test_normal_errors_hide_no_winner(scale: float) -> None:
    """50 runs of 20 maps each may miss 0.05 winners together; nearly all maps are certified."""
    found = outcomes(50, normal(scale))
    assert sum(one.missed[one.certified].sum() for one in found) <= 1
    assert np.mean([one.certified.mean() for one in found]) > 0.9
    assert np.mean([one.looked for one in found]) < 0.4
    assert max(one.looks for one in found) < 8


def test_large_normal_errors_are_admitted() -> None:
    """Where the winners are not among the images held, nothing is certified."""
    found = outcomes(10, normal(0.5))
    assert not any(one.certified.any() for one in found)
    assert sum(one.missed.sum() for one in found) > 100


def test_a_small_dataset_is_looked_at_as_a_whole_if_need_be() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = rng.standard_normal((60, MAPS)).astype(np.float32)
        screened = (truth + rng.standard_normal(truth.shape)).astype(np.float32)
        found = look(truth, screened)
        assert found.certified.all()
        assert not found.missed.any()


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("images", [1, 4, 7, 300, 3000])
def test_one_map_and_few_ranks(k: int, images: int) -> None:
    """The fewest images are looked at, and still enough of them to learn something."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = rng.standard_normal((images, 1)).astype(np.float32)
        screened = (truth + 0.01 * rng.standard_normal(truth.shape)).astype(np.float32)
        found = look(truth, screened, k)
        assert found.certified.all()
        assert not found.missed.any()


def test_few_candidates_held_are_not_enough() -> None:
    """The same errors, certified with all candidates and not with a few."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((IMAGES, MAPS)).astype(np.float32)
    screened = (truth + 0.1 * rng.standard_normal(truth.shape)).astype(np.float32)
    assert look(truth, screened).certified.all()
    assert not look(truth, screened, held=screen_depth(K)).certified.mean() > 0.1


# --- errors that are not so -------------------------------------------------------------------

HEAVY: dict[str, Errors] = {
    "two-sided exponential": lambda rng, truth: 0.05 * rng.laplace(size=truth.shape),
    "student's t, 3 degrees": lambda rng, truth: 0.05 * rng.standard_t(3, size=truth.shape),
    "cauchy": lambda rng, truth: 0.02 * rng.standard_cauchy(size=truth.shape),
    "all too low": lambda rng, truth: -0.2 + normal(0.05)(rng, truth),
    "all too high": lambda rng, truth: 0.2 + normal(0.05)(rng, truth),
    "in proportion": lambda rng, truth: 0.05 * truth * rng.standard_normal(truth.shape),
    "larger below the top": lambda rng, truth: (
        0.1 * np.maximum(0.2, 3 - truth) * rng.standard_normal(truth.shape)
    ),
    "the strongest cut off": lambda rng, truth: np.minimum(0, 2 - truth) + normal(0.02)(rng, truth),
}


@pytest.mark.parametrize("name", HEAVY)
def test_other_errors_are_found_out(name: str) -> None:
    """No winner is missing from a map that is certified: it is looked at longer, or admitted."""
    found = outcomes(25, HEAVY[name])
    winners = 25 * MAPS * K
    certified = np.mean([one.certified.mean() for one in found])
    missed = sum(one.missed.sum() for one in found)
    silently = sum(one.missed[one.certified].sum() for one in found)
    print(f"{name}: {certified:.2f} certified, {missed} of {winners} missed, {silently} silently")
    assert silently <= 1


def test_a_rare_large_error_is_more_than_is_promised() -> None:
    """One error in a hundred is fifteen times as large: a sample of some dozens may hold none."""

    def errors(rng: np.random.Generator, truth: Floats) -> NDArray[np.float64]:
        return normal(0.02)(rng, truth) * np.where(rng.random(truth.shape) < 0.01, 15, 1)

    found = outcomes(50, errors)
    silently = sum(one.missed[one.certified].sum() for one in found)
    print(f"{silently} of {50 * MAPS * K} winners missed silently")
    assert silently < 0.002 * 50 * MAPS * K


# --- maps of other kinds ----------------------------------------------------------------------


def test_dead_maps_are_certified_without_looking_at_everything() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = -1 - np.abs(rng.standard_normal((IMAGES, MAPS))).astype(np.float32)
        screened = (truth + 0.02 * rng.standard_normal(truth.shape)).astype(np.float32)
        found = look(truth, screened)
        assert found.certified.all()
        assert found.looks == 1
        assert found.looked < 0.15


def test_maps_that_fire_on_few_images() -> None:
    """Fewer winners than ranks, and images just below zero that might be some."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = (rng.standard_normal((IMAGES, MAPS)) - 3.1).astype(np.float32)
        screened = (truth + 0.03 * rng.standard_normal(truth.shape)).astype(np.float32)
        found = look(truth, screened)
        assert (truth > 0).sum(0).min() < K
        assert not found.missed[found.certified].any()
        assert found.certified.mean() > 0.9


@pytest.mark.parametrize("levels", [4, 40])
@pytest.mark.parametrize("scale", [0.0, 0.02])
def test_ties_are_broken_by_the_sample_or_admitted(levels: int, scale: float) -> None:
    """Whoever ties with the last winner is looked at, or the map is not certified."""
    certified = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = np.round(rng.standard_normal((IMAGES, MAPS)) * levels / 4).astype(np.float32)
        screened = (truth + scale * rng.standard_normal(truth.shape)).astype(np.float32)
        found = look(truth, screened)
        assert not found.missed[found.certified].any()
        certified.append(found.certified.mean())
    assert np.mean(certified) > (0.9 if levels == 40 else 0.2)


def test_maps_that_are_zero_everywhere_are_not_certified_by_mistake() -> None:
    """An image not looked at might be just above; nothing tells how far from it it is."""
    truth = np.zeros((IMAGES, MAPS), np.float32)
    truth[2500] = 1e-3
    screened = np.zeros_like(truth)
    found = look(truth, screened)
    assert (found.missed == 1).all()
    assert not found.certified.any()


# --- the scale of errors ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [6, 17, 50, 300])
def test_the_scale_is_hardly_ever_too_small(count: int) -> None:
    """It is the true one or more, 99 times in 100, and not much more where many are known."""
    errors = np.random.default_rng(count).standard_normal((20000, count)).astype(np.float32) * 3
    scale = scale_of_errors(errors)
    assert (scale >= 3).mean() > 0.985
    assert np.median(scale) < 3 * (1 + 4 / math.sqrt(count))


@given(
    hnp.arrays(np.float32, (3, 12), elements=st.floats(-100, 100, width=32)),
    st.permutations(range(20)),
)
def test_errors_that_are_not_known_do_not_count(errors: Floats, order: list[int]) -> None:
    wide = np.full((3, 20), np.nan, np.float32)
    wide[:, order[:12]] = errors
    np.testing.assert_allclose(scale_of_errors(wide), scale_of_errors(errors), rtol=1e-6)


@pytest.mark.parametrize("count", range(6))
def test_from_few_errors_nothing_is_concluded(count: int) -> None:
    errors = np.full((2, 9), np.nan, np.float32)
    errors[:, :count] = 0.001
    assert np.isinf(scale_of_errors(errors)).all()
    candidates = np.array([[1.0, -50.0]] * 2, np.float32)
    verdict = judge(
        candidates,
        np.array([[True, False]] * 2),
        np.zeros((2, 1), np.int64),
        np.full((2, 1), -np.inf, np.float32),
        np.ones(2, np.float32),
        scale_of_errors(errors),
    )
    assert not verdict.certified.any()
    assert verdict.wanted.tolist() == [[False, True]] * 2


def test_one_error_far_out_widens_the_scale() -> None:
    errors = np.random.default_rng(0).standard_normal((1, 100)).astype(np.float32)
    usual = scale_of_errors(errors)[0]
    errors[0, 50] = 9
    assert usual < 1.5
    assert scale_of_errors(errors)[0] >= 3


# --- the verdict ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One map's state, as `judge` takes it."""

    candidates: Floats
    looked_at: NDArray[np.bool_]
    outside: list[int]
    below: list[float]
    bar: float
    scale: float
    maps: int

    def judged(self, looked_at: NDArray[np.bool_]) -> tuple[bool, NDArray[np.bool_]]:
        """Certified, and what is wanted; the map stands beside others that are the same."""
        verdict = judge(
            np.stack([self.candidates] * self.maps),
            np.stack([looked_at] * self.maps),
            np.array([self.outside] * self.maps),
            np.array([self.below] * self.maps, np.float32),
            np.full(self.maps, self.bar, np.float32),
            np.full(self.maps, self.scale),
        )
        assert len(set(verdict.certified.tolist())) == 1
        return bool(verdict.certified[0]), verdict.wanted[0]

    def risk(self, looked_at: NDArray[np.bool_]) -> float:
        """The stated sum, written out."""
        total = self.risk_outside()
        for value, known in zip(self.candidates, looked_at, strict=True):
            if not known and value > -np.inf:
                total += self._of(float(value))
        return total

    def risk_outside(self) -> float:
        """Of those that are no candidates."""
        steps = zip(self.outside, self.below, strict=True)
        return sum(count * self._of(value) for count, value in steps)

    def _of(self, value: float) -> float:
        gap = float(np.float32(self.bar) - np.float32(value))
        if gap <= 0 or math.isinf(self.scale):
            return 1.0
        return math.exp(-(gap**2) / (2 * self.scale**2)) if self.scale else 0.0


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    values = draw(st.lists(st.floats(-20, 3, width=32), min_size=1, max_size=12))
    candidates = np.sort(np.array(values, np.float32))[::-1].copy()
    fewer = draw(st.integers(0, 2))
    if fewer:
        candidates[-fewer:] = -np.inf
    complete = bool(np.isneginf(candidates[-1])) or draw(st.booleans())
    if complete:
        outside, below = [0, 0], [-np.inf, -np.inf]
    else:
        outside = [*draw(st.lists(st.integers(0, 9), max_size=3)), draw(st.integers(1, 10**9))]
        steps = [draw(st.sampled_from([0.0, 0.1, 2.0])) for _ in outside]
        below = (float(candidates[-1]) - np.cumsum(steps)).tolist()
    return Asked(
        candidates,
        np.array(draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))),
        outside,
        below,
        draw(st.sampled_from([0.0, 0.5, 3.0])),
        draw(st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0, np.inf])),
        draw(st.sampled_from([1, 10, 10_000])),
    )


@settings(max_examples=400, deadline=None)
@given(asked())
def test_a_verdict_is_the_stated_sum_and_wants_no_more_than_it_needs(one: Asked) -> None:
    allowed = RISK / one.maps
    certified, wanted = one.judged(one.looked_at)
    risk = one.risk(one.looked_at)
    if abs(risk - allowed) > 1e-6 * allowed:
        assert certified == (risk <= allowed)
    assert not (wanted & one.looked_at).any()
    assert not wanted[np.isneginf(one.candidates)].any()
    if certified or not wanted.any():
        assert not wanted.any()
        assert certified or one.risk_outside() > allowed * (1 - 1e-6)
        return
    after, _ = one.judged(one.looked_at | wanted)
    assert after  # what is wanted is enough, if the bar and the scale stay
    last = np.flatnonzero(wanted)[-1]
    but_one = one.looked_at | wanted
    but_one[last] = False
    assert one.risk(but_one) > allowed * (1 - 1e-6)  # and not too much
    first = np.flatnonzero(~one.looked_at)
    assert wanted[first[first <= last]].all()  # those with the smallest gaps


@given(asked(), st.sampled_from([0.5, 0.9]))
def test_a_smaller_scale_or_a_higher_bar_never_takes_a_certificate_away(
    one: Asked, share: float
) -> None:
    certified, _ = one.judged(one.looked_at)
    sharper = Asked(**{**vars(one), "scale": one.scale * share})
    higher = Asked(**{**vars(one), "bar": one.bar + share})
    for other in (sharper, higher):
        assert other.judged(other.looked_at)[0] >= certified
