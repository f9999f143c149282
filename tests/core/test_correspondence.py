"""The signs of changes: against the formula, feature by feature."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.core.correspondence import hamming, hide, signs

values = st.sampled_from([-1.5, -1e-9, 0.0, 1e-9, 0.25, 2.0])


@given(arrays(np.float64, (4, 2, 3, 3), elements=values))
def test_the_distance_is_the_share_of_signs_that_differ(features) -> None:
    """What is no larger than rounding of the layer's largest value has no sign."""
    own, hidden, other, other_hidden = torch.from_numpy(features)
    wanted = []
    for before, after in ((own, hidden), (other, other_hidden)):
        change, noise = (before - after).numpy(), 1e-5 * float(before.abs().max())
        wanted.append(np.where(np.abs(change) > noise, np.sign(change), 0))
    found = hamming(signs(own, hidden), signs(other, other_hidden), own.numel())
    assert found == pytest.approx((wanted[0] != wanted[1]).mean())
    assert hamming(signs(own, hidden), signs(own, hidden), own.numel()) == 0


def test_a_box_is_hidden_by_the_mean() -> None:
    image = torch.randn(3, 6, 8)
    hidden = hide(image, (1, 2, 4, 7))
    assert (hidden[:, 1:4, 2:7] == 0).all()
    assert ((hidden != image).sum((1, 2)) == 15).all()
