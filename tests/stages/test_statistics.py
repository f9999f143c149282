"""What a run says of its maps beside the winners, against all activations held in memory."""

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import schema
from pipeline.core.heaps.selectivity import class_entropy, selectivity
from pipeline.data.store import Store
from pipeline.errors import IncompleteError
from pipeline.stages.merging import condense, summary
from pipeline.stages.merging import merge as merge_module
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from tests.stages import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT = 40
BROKEN = (0, 17, 18)
USED = [number for number in range(COUNT) if number not in BROKEN]
AT = (0.9, 0.5, 0.2)
LAYERS = ("first", "second")


def label_of(number: int) -> int:
    """Neighbours are of one class, as in folders."""
    return number // 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("statistics") / "pictures"
    for key in tiny.write(folder, COUNT, BROKEN):
        own = folder / f"class-{label_of(int(key[:3]))}"
        own.mkdir(exist_ok=True)
        (folder / key).rename(own / key)
    return folder


def mined(folder: Path, sizes: Sequence[int], share: float = 1.0) -> Store:
    run = Store(f"memory://{uuid.uuid4().hex}")
    dataset, net = tiny.opened(folder), tiny.net_of(tiny.module())
    keys = sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("*/*"))
    parts, miner = tiny.parts_of(dataset, keys, list(sizes)), Miner.exact(net)
    for part in parts:
        mine_part([miner], dataset, part, [run], 3, kept=share)
    spec = tiny.spec_of(net, dataset, 3).model_copy(update={"examples": AT})
    merge(run, spec, [part.name for part in parts], kept=share)
    return run


def table(run: Store, folder: str, layer: str) -> pd.DataFrame:
    frame: pd.DataFrame = run.read_table(schema.of_layer(folder, layer)).to_pandas()
    return frame


def peaks(layer: str) -> np.ndarray:
    """(images, maps) largest activations; what does not exceed zero is not active."""
    maps = tiny.Everything.of(tiny.module(), COUNT).maps[layer][USED]
    found: np.ndarray = maps.reshape(*maps.shape[:2], -1).max(2).astype(np.float64)
    return found


@st.composite
def cuts(draw: st.DrawFn) -> list[int]:
    ends = sorted(draw(st.sets(st.integers(1, COUNT - 1), max_size=8)))
    return np.diff([0, *ends, COUNT]).tolist()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts(), st.booleans())
def test_however_the_dataset_is_cut(folder: Path, sizes: list[int], condensed: bool) -> None:
    """And whether ranges of parts are condensed first."""
    with pytest.MonkeyPatch.context() as patch:
        if condensed:
            patch.setattr(merge_module, "_WINNERS_IN_SHARE", 1)
            patch.setattr(condense, "_PARTS", 3)
            patch.setattr(condense, "_FEWEST", 4)
        run = mined(folder, sizes)
    maps = run.read_table(schema.FEATURE_MAPS).to_pandas()
    for layer in LAYERS:
        values, of_layer = peaks(layer), maps[maps["layer"] == layer]
        check_quantiles(values, of_layer)
        check_distribution(values, table(run, schema.DISTRIBUTIONS, layer))
        check_classes(values, of_layer, table(run, schema.CLASSES, layer))
        check_examples(values, of_layer, table(run, schema.EXAMPLES, layer), layer)


def check_quantiles(values: np.ndarray, of_layer: pd.DataFrame) -> None:
    for name, share in schema.QUANTILES.items():
        exact = np.quantile(values.clip(0), share, axis=0, method="inverted_cdf")
        np.testing.assert_array_less(np.abs(of_layer[name] - exact), exact / 32 + 1e-9)
        assert (of_layer[name] <= of_layer["max"].clip(lower=0)).all()


def check_distribution(values: np.ndarray, rows: pd.DataFrame) -> None:
    assert (rows["images"] > 0).all()
    for number, of_map in rows.groupby("feature_map"):
        of_images = values[:, int(str(number))]
        for row in of_map.itertuples():
            within = (of_images >= row.lower) & (of_images < row.upper)
            assert row.images == within.sum()
    active = rows.groupby("feature_map")["images"].sum()
    found = active.reindex(range(values.shape[1]), fill_value=0)
    assert found.tolist() == (values > 0).sum(0).tolist()


def check_classes(values: np.ndarray, of_layer: pd.DataFrame, rows: pd.DataFrame) -> None:
    labels = np.array([label_of(number) for number in USED])
    means = np.stack([values[labels == label].mean(0) for label in range(5)])
    active = np.stack([(values[labels == label] > 0).sum(0) for label in range(5)])
    count = values.shape[1]
    assert rows["feature_map"].tolist() == np.repeat(np.arange(count), 5).tolist()
    assert rows["label"].tolist() == list(range(5)) * count
    assert rows["class_name"].tolist() == [f"class-{label}" for label in range(5)] * count
    assert rows["images"].tolist() == np.bincount(labels).tolist() * count
    np.testing.assert_allclose(rows["mean"], means.T.ravel(), rtol=1e-6, atol=1e-9)
    assert rows["active"].tolist() == active.T.ravel().tolist()
    index = selectivity(means)
    np.testing.assert_allclose(of_layer["selectivity"].astype(float), index, rtol=1e-6)
    np.testing.assert_allclose(
        of_layer["class_entropy"].astype(float), class_entropy(means), rtol=1e-6, atol=1e-9
    )
    known = np.isfinite(index)
    best = of_layer["best_class"].astype(float).to_numpy()
    assert np.isnan(best[~known]).all()
    assert best[known].tolist() == means.argmax(0)[known].tolist()
    names = [f"class-{label}" for label in means.argmax(0)[known]]
    assert of_layer["best_class_name"].to_numpy()[known].tolist() == names


def check_examples(
    values: np.ndarray, of_layer: pd.DataFrame, rows: pd.DataFrame, layer: str
) -> None:
    """The image whose activation is nearest to the quantile, as the run knows it."""
    expected = []
    for number, exact in enumerate(np.quantile(values.clip(0), AT, 0, method="inverted_cdf").T):
        for quantile, target in zip(AT, exact, strict=True):
            if target > 0:
                expected.append((number, np.float32(quantile)))
                (row,) = rows[
                    (rows["feature_map"] == number) & (rows["quantile"] == np.float32(quantile))
                ].itertuples()
                gaps = np.abs(values[:, number] - target)
                allowed = gaps.min() + target / 16
                assert abs(row.activation - target) <= allowed
    assert list(zip(rows["feature_map"], rows["quantile"], strict=True)) == expected
    everything = tiny.Everything.of(tiny.module(), COUNT).maps[layer]
    for row in rows.itertuples():
        maps = everything[row.sample, row.feature_map]
        assert maps.max() == row.activation
        assert maps[row.y, row.x] == row.activation
        assert row.key == f"class-{label_of(row.sample)}/{row.sample:03}.png"
        assert row.label == label_of(row.sample)
        if layer == "first":
            assert 0 <= row.top <= row.y < row.bottom <= tiny.SIDE
        assert row.source_bottom <= tiny.SIDE


def test_examples_are_chosen_from_the_images_that_are_kept(folder: Path) -> None:
    """A part that was mined when the dataset was smaller has kept more."""
    few, many = mined(folder, [COUNT], 0.3), mined(folder, [COUNT], 1.0)
    used = set(table(few, schema.EXAMPLES, "first")["sample"])
    assert used < set(USED)
    dataset, net = tiny.opened(folder), tiny.net_of(tiny.module())
    spec = tiny.spec_of(net, dataset, 3).model_copy(update={"examples": AT})
    merge(many, spec, ["part-00000"], kept=0.3)
    for layer in LAYERS:
        name = schema.of_layer(schema.EXAMPLES, layer)
        assert many.read(name) == few.read(name)


def test_of_very_many_classes_nothing_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "_MOST_CLASSES", 4)
    run = mined(folder, [COUNT])
    assert not len(table(run, schema.CLASSES, "first"))
    maps = run.read_table(schema.FEATURE_MAPS).to_pandas()
    assert (
        maps[["selectivity", "class_entropy", "best_class", "best_class_name"]]
        .isna()
        .all(axis=None)
    )


def test_what_the_winners_classes_have_in_common() -> None:
    maps = pa.table({"feature_map": range(4), "common_ancestor": pa.nulls(4, pa.string())})
    winners = pa.table(
        {
            "label": [281, 283, 291, 281, 281, 3, 7],
            "class_name": ["tabby", "Persian cat", "lion", "tabby", "tabby", "wheels", None],
        }
    )
    owners = np.array([0, 0, 0, 1, 1, 2, 2])
    made = summary.with_ancestors(maps, winners, owners)
    assert made["common_ancestor"].to_pylist() == ["feline", "tabby", None, None]


def test_statistics_that_are_gone_are_named(folder: Path) -> None:
    run = mined(folder, [20, 20])
    run.remove(schema.statistics_name("part-00001"))
    dataset, net = tiny.opened(folder), tiny.net_of(tiny.module())
    with pytest.raises(IncompleteError, match=r"statistics/part-00001.parquet is gone; remove"):
        merge(run, tiny.spec_of(net, dataset, 3), ["part-00000", "part-00001"])
