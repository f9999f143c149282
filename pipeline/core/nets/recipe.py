"""A net on its way to another process."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.core.nets import known
from pipeline.core.nets.known import Net
from pipeline.core.nets.old import Variant
from pipeline.core.nets.preprocessing import Preprocessing


@dataclass(frozen=True)
class Recipe:
    """What to build, and the tensors of it: plain data, so that it can be sent.

    Attributes:
        name: of the net.
        classes: that its last layer tells apart; 0 without a classifier.
        preprocessing: of its pictures.
        layers: the only ones that are kept.
        state: of the trunk up to the last of them, or of the whole net.
        variant: of the net.
        whole: whether the classifier is there too.
    """

    name: str
    classes: int
    preprocessing: Preprocessing
    layers: tuple[str, ...]
    state: dict[str, Tensor]
    variant: Variant | None = None
    whole: bool = False

    @classmethod
    def of(cls, net: Net, layers: Sequence[str], *, whole: bool = False) -> "Recipe":
        """The recipe of a net with these layers alone, and with its classifier if `whole`."""
        source = net.module if whole and net.module is not None else net.graph.only(layers).trunk
        return cls(
            net.name,
            net.classes,
            net.preprocessing,
            tuple(layers),
            source.state_dict(),  # with its versions, which some nets' loaders ask for
            net.variant,
            whole and net.module is not None,
        )

    def make(self, device: str) -> Net:
        """The net on a device, in the memory layout that is fastest there."""
        module = known.build(self.name, self.classes or None, variant=self.variant)
        if self.whole:  # first, as the trunk has weights that are computed of the net's
            module.load_state_dict(self.state)
        graph = known.assemble(self.name, module, self.preprocessing).graph.only(self.layers)
        if not self.whole:
            graph.trunk.load_state_dict(self.state)
        needed = nn.ModuleList([module, graph.trunk]) if self.whole else graph.trunk
        needed.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        whole = module if self.whole else None
        return Net(self.name, graph, self.preprocessing, self.classes, module=whole)
