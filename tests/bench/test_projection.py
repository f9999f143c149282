"""The rival of the benchmark computes the same; how fast either is, no test can say."""

import numpy as np
import pytest
import torch

from pipeline.bench.printer import limited
from pipeline.bench.sections.projection import _winners, by_autograd
from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.trace import trace
from pipeline.core.nets import known
from pipeline.core.projection.deconvnet import project_on_windows
from tests.core.projection.test_deconvnet import noise

pytestmark = pytest.mark.usefixtures("one_thread")


def test_autograd_gives_the_same_projections() -> None:
    net = known.build("alexnet", seed=7).double()
    graph, images = trace(net, (128, 128)), noise(4, 3, 128, 128)
    for layer in graph.layers:
        seeds = _winners(layer, 4)
        whole = by_autograd(graph, layer)(images, seeds)
        _, projections = project_on_windows(graph, layer, images, seeds)
        boxes = receptive_field(graph, layer).boxes(seeds.y.numpy(), seeds.x.numpy(), (128, 128))
        for image, box, projection in zip(whole, boxes.tolist(), projections, strict=True):
            top, left, bottom, right = box
            clipped = image[:, top:bottom, left:right]
            torch.testing.assert_close(projection, clipped, rtol=1e-9, atol=1e-12)
            assert image.count_nonzero() == clipped.count_nonzero()


def test_ratio_and_share_of_its_limit() -> None:
    row = {"full": np.array([2.0, 4.0]), "windows": np.array([1.0, 1.0])}
    told = limited(row, "full", "windows", limit=6.0)
    assert told["ratio"].tolist() == [2.0, 4.0]
    assert told["share"] == 0.5
