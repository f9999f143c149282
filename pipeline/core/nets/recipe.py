"""A net on its way to another process."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pipeline.core.graph.trace import Graph
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
        source: the net itself, in the process that it comes from.
    """

    name: str
    classes: int
    preprocessing: Preprocessing
    layers: tuple[str, ...]
    state: dict[str, Tensor]
    variant: Variant | None = None
    whole: bool = False
    source: Net | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "source": None}

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
            net,
        )

    def make(self, device: str) -> Net:
        """The net on a device, in the memory layout that is fastest there."""
        module, graph = self._built() if self.source is None else self._copied(self.source)
        whole = module if self.whole else None
        needed = graph.trunk if whole is None else nn.ModuleList([whole, graph.trunk])
        needed.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Net(self.name, graph, self.preprocessing, self.classes, module=whole)

    def _built(self) -> tuple[nn.Module, Graph]:
        module = known.build(self.name, self.classes or None, variant=self.variant)
        if self.whole:  # first, as the trunk has weights that are computed of the net's
            module.load_state_dict(self.state)
        graph = known.assemble(self.name, module, self.preprocessing).graph.only(self.layers)
        if not self.whole:
            graph.trunk.load_state_dict(self.state)
        return module, graph

    def _copied(self, source: Net) -> tuple[nn.Module | None, Graph]:
        """Sooner than building, and what the source's layout and device are is left alone."""
        return deepcopy((source.module if self.whole else None, source.graph.only(self.layers)))
