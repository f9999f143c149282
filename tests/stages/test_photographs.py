"""All that a run says of trained maps over photographs, against one pass with everything kept."""

import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline import schema
from pipeline.core.nets.known import Net
from pipeline.data.decoding import decode
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store
from pipeline.data.weights.load import load_net
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from tests.stages import tiny

SHARED = Path(__file__).parents[2].parent / "shared"
WEIGHTS = SHARED / "weights" / "squeezenet1_1-imagenet.pth"
LAYERS = ["features.4.squeeze", "features.12.expand3x3"]
GROUPS, AT = 10, (0.99, 0.9, 0.5)


pytestmark = pytest.mark.usefixtures("one_thread_in_module")


@pytest.fixture(scope="module")
def net() -> Net:
    if not WEIGHTS.is_file():
        pytest.skip("no trained SqueezeNet beside this checkout (shared/weights)")
    loaded = load_net("squeezenet1_1", str(WEIGHTS)).net
    return Net(loaded.name, loaded.graph.only(LAYERS), loaded.preprocessing, loaded.classes)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs in ten folders, by their classes' order."""
    paths = sorted((SHARED / "photos").glob("*.JPEG"))
    if not paths:
        pytest.skip("no photographs beside this checkout (shared/photos)")
    folder = tmp_path_factory.mktemp("photographs")
    for number, path in enumerate(paths):
        own = folder / f"group-{number * GROUPS // len(paths)}"
        own.mkdir(exist_ok=True)
        (own / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def run(net: Net, photos: Path) -> Store:
    run, dataset = Store(f"memory://{uuid.uuid4().hex}"), open_dataset(str(photos))
    parts = dataset.parts()
    for part in parts:
        mine_part([Miner.exact(net)], dataset, part, [run], 9)
    spec = tiny.spec_of(net, dataset, 9).model_copy(update={"examples": AT})
    merge(run, spec, [part.name for part in parts])
    return run


@pytest.fixture(scope="module")
def maxima(net: Net, photos: Path) -> dict[str, np.ndarray]:
    """Layer → (images, maps) the largest activation of each map."""
    found: dict[str, list[np.ndarray]] = {layer: [] for layer in LAYERS}
    with torch.inference_mode():
        for path in sorted(photos.glob("*/*")):
            image = net.preprocessing.prepare(decode(path.read_bytes(), "RGB"))
            made = net.graph.trunk(net.preprocessing.normalise(image[None]))
            for layer, maps in zip(LAYERS, made, strict=True):
                found[layer].append(maps[0].amax((1, 2)).numpy())
    return {layer: np.stack(rows) for layer, rows in found.items()}


def of_layer(run: Store, layer: str) -> pd.DataFrame:
    table = run.read_table(schema.FEATURE_MAPS).to_pandas()
    return table[table["layer"] == layer].sort_values("feature_map", ignore_index=True)


@pytest.mark.parametrize("layer", LAYERS)
def test_moments_and_quantiles(run: Store, maxima: dict[str, np.ndarray], layer: str) -> None:
    values, table = maxima[layer].astype(np.float64), of_layer(run, layer)
    images = len(values)
    assert (table["images"] == images).all()
    assert (table["active"] == (values > 0).sum(0)).mean() > 0.99  # one may be all but zero
    np.testing.assert_allclose(table["max"], values.max(0), rtol=1e-4)
    np.testing.assert_allclose(table["mean"], values.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(table["std"], values.std(0), rtol=1e-3, atol=1e-5)
    ordered = np.sort(values, axis=0)
    for name, share in schema.QUANTILES.items():
        wanted = ordered[int(np.ceil(share * images)) - 1]
        # buckets are a sixteenth of an octave wide
        np.testing.assert_allclose(table[name], wanted, rtol=1 / 32, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_classes(run: Store, maxima: dict[str, np.ndarray], photos: Path, layer: str) -> None:
    names = [path.parent.name for path in sorted(photos.glob("*/*"))]
    frame = pd.DataFrame(maxima[layer].astype(np.float64)).groupby(np.array(names))
    means, active = frame.mean(), frame.agg(lambda column: (column > 0).sum())
    rows = run.read_table(schema.of_layer(schema.CLASSES, layer)).to_pandas()
    assert len(rows) == GROUPS * maxima[layer].shape[1]
    for name in means.index:
        own = rows[rows["class_name"] == name].sort_values("feature_map")
        assert (own["images"] == names.count(name)).all()
        np.testing.assert_allclose(own["mean"], means.loc[name], rtol=1e-4, atol=1e-5)
        assert (own["active"].to_numpy() == active.loc[name].to_numpy()).mean() > 0.99
    largest = means.max()
    rest = (means.sum() - largest) / (GROUPS - 1)
    table = of_layer(run, layer)
    wanted = (largest - rest) / (largest + rest)
    np.testing.assert_allclose(table["selectivity"], wanted, rtol=1e-3, atol=1e-4)
    shares = means / means.sum()
    bits = -(shares * np.log2(shares.where(shares > 0, 1))).sum()
    np.testing.assert_allclose(table["class_entropy"], bits, rtol=1e-3, atol=1e-4)
    assert (table["best_class_name"] == means.idxmax()).mean() > 0.99


@pytest.mark.parametrize("layer", LAYERS)
def test_examples_stand_at_their_quantiles(
    run: Store, maxima: dict[str, np.ndarray], layer: str
) -> None:
    rows = run.read_table(schema.of_layer(schema.EXAMPLES, layer)).to_pandas()
    values = maxima[layer]
    ordered = np.sort(values, axis=0)
    for row in rows.to_dict("records"):
        own = float(values[row["sample"], row["feature_map"]])
        assert row["activation"] == pytest.approx(own, rel=1e-3)
        place = int(np.ceil(round(row["quantile"], 4) * len(values))) - 1
        # as near to the quantile, known to a bucket, as the image that stands there
        assert own == pytest.approx(float(ordered[place, row["feature_map"]]), rel=1 / 16)
    assert len(rows) > 2 * values.shape[1]
