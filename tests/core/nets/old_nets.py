"""What the tests of the old nets share: noise, the numpy chain of a net, places to project."""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.graph.trace import Graph, Layer
from pipeline.core.nets import known
from pipeline.core.nets.old import Variant
from pipeline.core.projection.deconvnet import Seeds, ascend, project
from tests.core import guided
from tests.core.dense import Array, Chain

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def picture(side: int, seed: int = 0) -> Tensor:
    """Smooth noise as uint8 (3, side, side), so that deep maps are not all alike."""
    noise = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(seed))
    large = nn.functional.interpolate(noise, (side, side), mode="bicubic")
    return (large[0] * 255).clamp(0, 255).byte()


def made(name: str, variant: Variant, seed: int = 0) -> tuple[nn.Module, Graph, Tensor]:
    """A net in float64, its graph, and one normalised image (3, H, W)."""
    prepared = known.preprocessing(name)
    image = prepared.normalise(picture(prepared.crop)[None])[0].double()
    module = known.build(name, 7, seed, variant).double()
    return module, known.assemble(name, module, prepared).graph, image


def chain(net: nn.Module, image: Tensor) -> tuple[Chain, dict[str, int]]:
    """The net in numpy up to its last pool, and the level of each layer."""
    parts = dict(net.named_children())
    modules: list[nn.Module] = []
    levels = {}
    for name in CONVS:
        modules += [parts[name], nn.ReLU()]
        levels[name] = len(modules) - 1
        if (between := parts.get(f"between{name[-1]}")) is not None:
            modules += list(between.children())
    return Chain([*modules, parts["pool5"]], image.numpy()), levels


def logits(net: nn.Module, pooled: Array) -> Array:
    """The fully connected layers in numpy."""
    x = pooled.reshape(-1)
    for name in ("fc6", "fc7", "fc8"):
        layer = dict(net.named_children())[name]
        x = layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()
        x = np.maximum(x, 0) if name != "fc8" else x
    return x


def geometry(graph: Graph) -> list[tuple[str, int, int, int, int, int]]:
    """Layer, maps, side of a map, and receptive field: side, stride, where the first one starts."""
    rows = []
    for layer in graph.layers:
        field = receptive_field(graph, layer)
        for pair in (layer.size, field.size, field.stride, field.start):
            assert pair[0] == pair[1]
        rows.append(
            (layer.name, layer.maps, layer.size[0], field.size[0], field.stride[0], field.start[0])
        )
    return rows


def places(maps: Tensor) -> list[tuple[int, int, int]]:
    """Feature map, y and x: active ones in a corner, on a border, and the strongest one."""
    side = maps.shape[1]
    chosen = []
    for y, x in ((0, 0), (side // 2, side - 1)):
        chosen.append((int(maps[:, y, x].argmax()), y, x))
    strongest, rest = divmod(int(maps.argmax()), side * side)
    return [*chosen, (strongest, *divmod(rest, side))]


def projections(
    graph: Graph, layer: Layer, image: Tensor
) -> list[tuple[tuple[int, int, int], Tensor]]:
    """Some places of a layer and their projections, each as large as the input."""
    ascent = ascend(graph, image[None])
    rows = places(ascent.activations[layer.name][0])
    columns = torch.tensor([(0, *row) for row in rows]).T
    field = receptive_field(graph, layer)
    boxes = field.boxes(*columns[2:].numpy(), (image.shape[1], image.shape[2])).tolist()
    found = []
    for row, box, part in zip(
        rows, boxes, project(graph, layer, ascent, Seeds(*columns)), strict=True
    ):
        whole = torch.zeros_like(image)
        whole[:, box[0] : box[2], box[1] : box[3]] = part
        found.append((row, whole))
    return found


def check_forward(net: nn.Module, graph: Graph, image: Tensor) -> None:
    """Every layer and the logits equal numpy's."""
    reference, levels = chain(net, image)
    for name, maps in ascend(graph, image[None]).activations.items():
        expected = reference.levels[levels[name]][2]
        assert (expected > 0).mean() > 0.05
        np.testing.assert_allclose(maps[0].numpy(), expected, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        found = net.eval()(image[None])[0].numpy()
    np.testing.assert_allclose(found, logits(net, reference.levels[-1][2]), rtol=1e-8)


def check_projections(net: nn.Module, graph: Graph, image: Tensor) -> None:
    """They equal numpy's, and guided autograd's; normalisation passes what comes down."""
    reference, levels = chain(net, image)
    below = image[None].clone().requires_grad_()
    layers = guided.layers(net, below)
    for layer in graph.layers:
        for (feature_map, y, x), found in projections(graph, layer, image):
            expected = reference.project(levels[layer.name], feature_map, y, x)
            largest = np.abs(expected).max()
            assert largest > 0
            assert np.abs(found.numpy() - expected).max() <= 1e-9 * largest
            other = guided.project(layers[layer.name], below, [feature_map], [y], [x])
            assert np.abs(found.numpy() - other[0].numpy()).max() <= 1e-9 * largest
