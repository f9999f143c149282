"""Weights drawn anew, layer by layer from the top down: the control of what depends on them.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, *Sanity Checks for Saliency Maps* (2018): what
a picture of a net shows should be lost with what the net has learned.
"""

import zlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, fx

from pipeline.core.graph.trace import Graph, Layer


def cascade(graph: Graph, seed: int) -> Iterator[Layer]:
    """Draw a net's weights anew in place, from its last layer down to its first.

    A tensor is drawn from the normal distribution of its own mean and standard deviation: how
    large weights are stays about the same, and what they have learned is gone. Running means and
    variances stay. What is drawn follows from the seed and the tensor's name alone.

    Args:
        graph: the net; who wants to keep it gives a copy.
        seed: of what is drawn.

    Yields:
        The layer down to which, itself included, all weights are now drawn anew.
    """
    weights = weights_of_layers(graph)
    for layer in reversed(graph.layers):
        with torch.no_grad():
            for name, tensor in weights[layer.name].items():
                tensor.copy_(_drawn(tensor, name, seed))
        yield layer


def weights_of_layers(graph: Graph) -> dict[str, dict[str, Tensor]]:
    """Layer → its weights by name: those that it needs, and no layer before it."""
    parameters = dict(graph.trunk.named_parameters())
    nodes = {node.name: node for node in graph.trunk.graph.nodes}
    taken: set[str] = set()
    found: dict[str, dict[str, Tensor]] = {}
    for layer in graph.layers:
        needed = {name for node in _behind(nodes[layer.step]) for name in _names(node, parameters)}
        found[layer.name] = {name: parameters[name] for name in sorted(needed - taken)}
        taken |= needed
    return found


def _behind(node: fx.Node) -> set[fx.Node]:
    """A node and all that its value follows from."""
    found, left = {node}, [node]
    while left:
        new = set(left.pop().all_input_nodes) - found
        found |= new
        left += new
    return found


def _names(node: fx.Node, parameters: Mapping[str, Tensor]) -> Iterator[str]:
    """The parameters that a node holds."""
    if node.op in ("call_module", "get_attr"):
        path = str(node.target)
        yield from (name for name in parameters if name == path or name.startswith(f"{path}."))


def _drawn(tensor: Tensor, name: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    values = tensor.detach().double().cpu()
    return (values.mean() + values.std(unbiased=False) * noise).to(tensor)
