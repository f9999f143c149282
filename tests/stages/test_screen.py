"""What is gathered from the screening of many parts, against sorting everything."""

import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import schema
from pipeline.core.heaps.certificate import screen_depth
from pipeline.data.store import Store
from pipeline.data.stored import part_columns
from pipeline.schema import SAMPLES_IN_PART
from pipeline.stages import screen
from pipeline.stages.screen import Candidates, gather

Values = NDArray[np.float32]


def gathered(parts: list[Values], top_k: int) -> Candidates:
    """From the files of parts whose images have these values (N, M)."""
    run = Store(f"memory://{uuid.uuid4().hex}")
    for number, values in enumerate(parts):
        order = np.argsort(-values, axis=0, kind="stable")[: screen_depth(top_k)].T
        table = pa.Table.from_pylist(
            [
                {
                    "feature_map": feature_map,
                    "images": len(values),
                    "kept": [{"value": values[at, feature_map], "sample": at} for at in some],
                }
                for feature_map, some in enumerate(order)
            ],
            schema=part_columns.SCREEN_HEAP.with_metadata({SAMPLES_IN_PART: str(len(values))}),
        )
        run.write_table(schema.screen_name(str(number)), table)
    candidates, starts = gather(run, [str(number) for number in range(len(parts))], top_k)
    assert starts.tolist() == np.cumsum([0, *map(len, parts)]).tolist()
    return candidates


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from([0, 1, 7, 50, 90, 200]), min_size=1, max_size=25),
    st.integers(0, 2**16),
    st.sampled_from([0.1, 1e-6]),
)
def test_nobody_outside_is_above_his_step(sizes: list[int], seed: int, grain: float) -> None:
    """The images held have their values, and the steps stand for all others from above."""
    rng = np.random.default_rng(seed)
    parts = [(rng.standard_normal((size, 3)) / grain).round().astype(np.float32) for size in sizes]
    found = gathered(parts, 1)
    for feature_map, values in enumerate(np.concatenate(parts).T):
        held = found.values[feature_map] > -np.inf
        samples = found.sample[feature_map][held]
        assert values[samples].tolist() == found.values[feature_map][held].tolist()
        steps = np.repeat(found.below[feature_map], found.outside[feature_map])
        others = np.delete(values, samples)
        assert (steps >= np.sort(others)[::-1]).all()  # as many, too


def test_steps_are_fine_where_the_risk_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk of those outside is not much more than it is one by one."""
    monkeypatch.setattr(screen, "_HELD", 4)
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((400, 20)).astype(np.float32) for _ in range(40)]
    found = gathered(parts, 9)
    values = -np.sort(-np.concatenate(parts), axis=0).T
    held = found.values.shape[1]
    for scale in (0.2, 0.3, 0.5):
        bar = values[:, 8:9]
        risk = (found.outside * np.exp(-(((bar - found.below) / scale) ** 2) / 2)).sum(1)
        true = np.exp(-(((bar - values[:, held:]) / scale) ** 2) / 2).sum(1)
        assert (risk >= true * (1 - 1e-6)).all()
        assert (risk < 2 * true).all()
