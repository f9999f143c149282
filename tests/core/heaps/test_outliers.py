"""One image out of the ordinary in a batch: no map is certified and wrong, whatever the batch.

The first map of the net answers to a checkerboard alone, and then many times as strongly as any
map to any other picture: in one scale for the whole batch nothing would be left of the others.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.graph.trace import Graph, trace
from pipeline.core.heaps import screening
from pipeline.core.heaps.peaks import Peaks
from pipeline.core.heaps.screening import IntegerConv, screened
from tests.core.heaps.test_certificate import look

SIDE, IMAGES, BATCH, ODD = 24, 640, 64, 70

pytestmark = pytest.mark.usefixtures("one_thread")


def net(seed: int, gain: float) -> Graph:
    """Three layers with batch normalisation, whose first map has a gain of its own."""
    torch.manual_seed(seed)
    first, second = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
    norm, other = nn.BatchNorm2d(32), nn.BatchNorm2d(64)
    with torch.no_grad():
        first.weight[0] = checkerboard(3)[0]
        first.bias[0] = -20  # type: ignore[index]
        norm.weight[0] = gain
        other.weight.uniform_(0.5, 3)
    module = nn.Sequential(
        first, norm, nn.ReLU(), nn.MaxPool2d(2), second, other, nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    return trace(module.eval(), (SIDE, SIDE))


def checkerboard(side: int) -> Tensor:
    y, x = np.mgrid[:side, :side]
    return torch.from_numpy(np.where((x + y) % 2, -1.0, 1.0)).float().expand(1, 3, side, side)


def pictures(seed: int) -> Tensor:
    """Noise of many sizes, which is as smooth as pictures are."""
    generator = torch.Generator().manual_seed(seed)
    layers = (torch.randn(IMAGES, 3, side, side, generator=generator) for side in (3, 6, 12, 24))
    grown = [nn.functional.interpolate(one, size=(SIDE, SIDE)) for one in layers]
    return torch.stack(grown).sum(0).mul(0.4).clamp(-1.8, 1.8)


def values(graph: Graph, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Exact and screened ones, (N, M) each."""
    exact, near = Peaks.of(graph), screened(graph)
    with torch.inference_mode():
        pairs = [(exact(batch)[0], near(batch)[0]) for batch in images.split(BATCH)]
    right, screened_values = (torch.cat(list(one)).numpy() for one in zip(*pairs, strict=True))
    return right, screened_values


@pytest.fixture(params=[True, False], ids=["integers", "bfloat16"])
def _precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param and not screening.has_integers():
        pytest.skip("no VNNI here")
    monkeypatch.setattr(screening, "has_integers", lambda: request.param)


@pytest.mark.usefixtures("_precision")
@pytest.mark.parametrize("gain", [1.0, 3000.0])
@pytest.mark.parametrize("batches", ["one", "all"])
def test_what_is_certified_is_right_beside_an_image_out_of_the_ordinary(
    gain: float, batches: str
) -> None:
    for seed in range(2):
        images = pictures(seed)
        images[ODD :: IMAGES if batches == "one" else BATCH] = 1.8 * checkerboard(SIDE)
        right, near = values(net(seed, gain), images)
        for k in (1, 9):
            found = look(right, near, k)
            assert not found.missed[found.certified].any()
            if screening.has_integers():  # in bfloat16 the image's own errors are told, not mended
                assert found.certified.mean() > 0.9


def test_an_ordinary_image_among_others_is_what_it_is_alone() -> None:
    """One of few among checkerboards: no batch is its usual company."""
    if not screening.has_integers():
        pytest.skip("no VNNI here")
    graph, images = net(0, 3000.0), pictures(0)[:BATCH]
    alone, _ = values(graph, images)
    images[1:] = 1.8 * checkerboard(SIDE)
    _, near = values(graph, images)
    behind = slice(32, None)  # the layers that read what the first map returns
    error = np.abs(near[0, behind] - alone[0, behind]).max()
    assert error < 0.05 * np.abs(alone[0, behind]).max()


def test_an_integer_convolution_scales_every_image_by_itself() -> None:
    if not screening.has_integers():
        pytest.skip("no VNNI here")
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 8, 3, padding=1).requires_grad_(False)
    maps = torch.randn(6, 16, 9, 9) * torch.tensor([1e-4, 1, 1e4, 1, 0, 50])[:, None, None, None]
    for rectified in (False, True):
        given = maps.relu() if rectified else maps
        made = IntegerConv(conv, rectified=rectified)(given)
        for one, exact in zip(made, conv(given), strict=True):
            assert (one - exact).abs().max() < 0.02 * exact.abs().max()
