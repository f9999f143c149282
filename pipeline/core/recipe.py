"""A net on its way to another process."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.core import networks
from pipeline.core.networks import Net
from pipeline.core.preprocessing import Preprocessing
from pipeline.core.variant import Variant


@dataclass(frozen=True)
class Recipe:
    """What to build, and the tensors of its trunk: plain data, so that it can be sent.

    Attributes:
        name: of the net.
        classes: that its last layer tells apart.
        preprocessing: of its pictures.
        layers: the only ones that are kept.
        state: of the trunk up to the last of them.
        variant: of the net.
    """

    name: str
    classes: int
    preprocessing: Preprocessing
    layers: tuple[str, ...]
    state: dict[str, Tensor]
    variant: Variant | None = None

    @classmethod
    def of(cls, net: Net, layers: Sequence[str]) -> "Recipe":
        """The recipe of a net, with these layers alone."""
        state = net.graph.only(layers).trunk.state_dict()
        return cls(
            net.name, net.classes, net.preprocessing, tuple(layers), dict(state), net.variant
        )

    def make(self, device: str) -> Net:
        """The net on a device, in the memory layout that is fastest there."""
        module = networks.build(self.name, self.classes, variant=self.variant)
        net = networks.assemble(self.name, module, self.preprocessing)
        graph = net.graph.only(self.layers)
        graph.trunk.load_state_dict(self.state)
        graph.trunk.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Net(net.name, graph, net.preprocessing, net.classes)
