"""Distances and probabilities of transformed pictures, against one forward pass for each."""

from pathlib import Path

import pytest
import torch

from pipeline.core.transforms import TRANSFORMS, amounts, transformed
from pipeline.data.class_names import ClassNames
from pipeline.data.demo.images import CLASS_NAMES, draw
from pipeline.data.pictures import Wanted, read_picture
from pipeline.data.weights.load import load_net
from pipeline.stages.experiments.invariance import invariance_unit
from tests.stages import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_row_is_that_of_a_pass_of_its_own(tmp_path: Path) -> None:
    net = load_net("demo").net
    path = tmp_path / "one.png"
    draw(3).image.save(path)
    names = ClassNames.of(CLASS_NAMES)
    table = invariance_unit(net, [Wanted(str(path), label=5)], None, names).to_pandas()
    layers = [layer.name for layer in net.graph.layers]
    image = read_picture(str(path), net.preprocessing).image
    fill = [255 * value for value in net.preprocessing.mean]
    assert net.module is not None
    normal = net.preprocessing.normalise
    with torch.no_grad():
        own = dict(zip(layers, net.graph.trunk(normal(image[None])), strict=True))
        for transform in TRANSFORMS:
            steps = amounts(transform, 112)
            rows = table[table["transform"] == transform]
            assert len(rows) == len(steps) * len(layers)
            for step in (steps[0], steps[-1], steps[len(steps) // 2]):
                moved = normal(transformed(image, transform, step, fill)[None])
                made = dict(zip(layers, net.graph.trunk(moved), strict=True))
                likely = net.module(moved).double().softmax(1)[0]
                for row in rows[rows["amount"] == step].itertuples():
                    wanted = float((made[row.layer] - own[row.layer]).double().norm())
                    assert row.distance == pytest.approx(wanted, rel=1e-4, abs=1e-3)
                    length = float(own[row.layer].double().norm())
                    assert row.relative == pytest.approx(wanted / length, rel=1e-4, abs=1e-5)
                    assert row.class_from in ("label", "prediction")
                    assert row.probability == pytest.approx(float(likely[row.label]), abs=1e-4)


def test_a_trunk_has_no_probabilities(tmp_path: Path) -> None:
    tiny.write(tmp_path / "pictures", 1)
    wanted = Wanted(str(tmp_path / "pictures" / "000.png"))
    net = tiny.net_of(tiny.module())
    table = invariance_unit(net, [wanted], None, ClassNames.of(())).to_pandas()
    assert table["probability"].isna().all()
    assert table["label"].isna().all()
    assert (table["distance"] > 0).any()
