"""The rival of the benchmark computes the same; how fast either is, no test can say."""

import json

import pytest
import torch

from jobs import bench_projection
from pipeline.bench.projection import ProjectionFigure, to_json
from pipeline.core.graph.trace import trace
from pipeline.core.nets import known
from pipeline.core.projection.deconvnet import project_on_windows
from tests.core.projection.test_deconvnet import noise

pytestmark = pytest.mark.usefixtures("one_thread")


def test_autograd_gives_the_same_projections() -> None:
    net = known.build("alexnet", seed=7).double()
    graph, images = trace(net, (128, 128)), noise(4, 3, 128, 128)
    for layer in graph.layers:
        seeds = bench_projection._winners(layer, 4)
        rival = bench_projection._Autograd(graph, layer).project(images, seeds)
        _, projections = project_on_windows(graph, layer, images, seeds)
        for one, other in zip(projections, rival, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_figures() -> None:
    one = ProjectionFigure("alexnet", "conv5", 32, 4, [4.0, 6.0], [2.0, 4.0], [1.0, 1.0], 6.0)
    assert (one.ratio, one.ratio_to_single, one.share) == (3.0, 5.0, 0.5)
    (read,) = json.loads(to_json([one]))
    assert read["share"] == 0.5
    assert bench_projection.table([one]).row_count == 1
