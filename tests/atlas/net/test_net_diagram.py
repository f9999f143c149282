import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from pipeline.atlas.drawing.page import Page, Pixels
from pipeline.atlas.net.columns import MOST_COLUMNS, columns
from pipeline.atlas.net.diagram import draw_diagram
from pipeline.core.graph.steps import MaxPool
from pipeline.core.graph.trace import Graph
from pipeline.core.nets import known


def graph(name: str) -> Graph:
    net = known.build(name)
    return known.assemble(name, net, known.preprocessing(name)).graph


def diagram_page(graph: Graph, picture: Pixels | None = None) -> Page:
    """The diagram, from edge to edge of a page as high as it."""
    height = draw_diagram(Page(281, 1), 0, 0, 281, graph, 7.5)
    page = Page(281, height)
    assert draw_diagram(page, 0, 0, 281, graph, 7.5, picture) == height
    return page


@pytest.fixture(scope="module")
def alexnet() -> Graph:
    return graph("alexnet")


def test_a_chain_is_drawn_step_by_step(alexnet: Graph) -> None:
    shown = columns(alexnet)
    named = [column.name for column in shown if column.kind == "conv"]
    assert named == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert [column.kind for column in shown][:4] == ["conv", "max pool", "conv", "max pool"]
    assert shown[0].up == ("conv 11×11 /4", "rectify")
    assert shown[0].down == ("rectify", "filter 11×11ᵀ")
    assert shown[0].shape == (64, 55, 55)
    assert shown[1].up == ("max pool", "3×3 /2")
    assert shown[1].down == ("unpool",)


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "mobilenet_v2"])
def test_deep_and_branchy_nets_are_abbreviated(name: str) -> None:
    net = graph(name)
    shown = columns(net)
    assert 4 <= len(shown) <= MOST_COLUMNS
    # no layer is lost, and none is in two columns
    layers = [layer for column in shown for layer in column.layers]
    assert layers == [layer.name for layer in net.layers]
    # each pool of the trunk keeps a column, for its switches
    pools = [step for step in net.steps.values() if isinstance(step.op, MaxPool)]
    assert sum(column.kind == "max pool" for column in shown) == len(pools)
    assert len({column.name for column in shown}) == len(shown)


def test_modules_are_named_by_their_path(alexnet: Graph) -> None:
    squeeze, residual = graph("squeezenet1_1"), graph("resnet18")
    assert [column.name for column in columns(squeeze)][2:4] == ["features.3", "features.4"]
    named = [column.name for column in columns(residual)]
    assert named[:4] == ["conv1", "maxpool", "layer1.0", "layer1.1"]
    named = [column.name for column in columns(residual, 6)]
    assert named == ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    # convolutions that no module holds together are named by the first and the last
    assert [column.name for column in columns(alexnet, 5)][4] == "features.6–10"


def test_the_diagram_says_every_step_and_links_every_pool(alexnet: Graph) -> None:
    page = diagram_page(alexnet, np.zeros((224, 224, 3), np.uint8))
    said = [text.get_text() for text in page.axes.texts]
    assert said.count("switches") == said.count("unpool") == said.count("max pool") == 2
    assert "192 × 27×27" in said
    assert {"input", "projection", "one activation"} <= set(said)
    assert np.asarray(Image.open(io.BytesIO(page.save("png")))).std() > 10


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1"])
def test_no_label_touches_another_or_the_edge(name: str) -> None:
    page = diagram_page(graph(name))
    renderer = FigureCanvasAgg(page.figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in page.axes.texts if text.get_text()]
    for n, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= page.figure.bbox.width
        assert box.y0 >= 0
        assert box.y1 <= page.figure.bbox.height
        shrunk = box.shrunk(0.99, 0.7)  # lines may touch, type may not
        assert not any(shrunk.overlaps(other) for other in boxes[n + 1 :])
