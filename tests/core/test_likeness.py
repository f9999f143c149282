"""How like two projections are: against other people's code and against loops."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.core.likeness import rank_correlation, structural_similarity

few_values = st.sampled_from([-2.0, -1.0, -0.5, 0.0, -0.0, 1e-9, 1.0, 3.0])


@given(arrays(np.float64, (2, 3, 4, 5), elements=few_values))
def test_the_rank_correlation_is_spearmans(pair):
    """pandas knows ties too."""
    one, other = pair
    frame = pd.DataFrame({"one": one.ravel(), "other": other.ravel()})
    wanted = frame.corr("spearman").loc["one", "other"]
    assert rank_correlation(one, other) == pytest.approx(wanted, nan_ok=True)


def test_the_rank_correlation_knows_neither_scale_nor_bend():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 3, 20, 20)).astype(np.float32)
    mixed = one + other
    found = rank_correlation(one, mixed)
    assert 0.5 < found < 0.9
    assert rank_correlation(1e6 * one, np.exp(mixed)) == pytest.approx(found, abs=1e-4)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert np.isnan(rank_correlation(one, np.zeros_like(one)))


def by_loops(one, other):
    """SSIM as the paper has it, window by window."""
    side = min(11, *(length - 1 + length % 2 for length in one.shape[:2]))
    assert one.shape[0] == one.shape[1]
    steps = np.arange(side) - side // 2
    gauss = np.exp(-(steps**2) / (2 * 1.5**2))
    weights = np.outer(gauss, gauss) / gauss.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for colour in range(one.shape[2]):
        for y in range(one.shape[0] - side + 1):
            for x in range(one.shape[1] - side + 1):
                a, b = (
                    part[y : y + side, x : x + side, colour].astype(float) for part in (one, other)
                )
                ma, mb = (weights * a).sum(), (weights * b).sum()
                va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
                cov = (weights * (a - ma) * (b - mb)).sum()
                alike = (2 * ma * mb + c1) * (2 * cov + c2)
                found.append(alike / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(found)


@pytest.mark.parametrize("side", [1, 2, 3, 10, 11, 17])
def test_structural_similarity_is_that_of_the_paper(side):
    rng = np.random.default_rng(side)
    one, other = rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    other = (other // 2 + one // 2).astype(np.uint8)
    found = structural_similarity(one, other)
    assert found == pytest.approx(by_loops(one, other), abs=1e-9)
    assert structural_similarity(other, one) == pytest.approx(found)
    assert structural_similarity(one, one) == pytest.approx(1)
