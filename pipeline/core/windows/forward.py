"""A forward pass over windows, step by step."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from pipeline.core.graph.linear import run_from
from pipeline.core.graph.steps import AvgPool, Conv, MaxPool, Pad, Select, Step
from pipeline.core.windows.placed import Placed, shares

Surroundings = Callable[[str, Tensor, Placed, Placed, float | None], Tensor]
"""What lies around the windows of a step's maps: other windows than those that are held.

Given the step, its values (n, C, h, w), which may be overwritten where they lie outside the map,
where these lie, the windows to return, and what lies outside the map, None if nobody minds; both
windows may reach over its border. Returns (n, C, h', w'), channels last.
"""


def convolve(region: Tensor, conv: Conv) -> Tensor:
    """The convolution with its bias, but without its padding."""
    module, k = conv.module, conv.kernel
    return F.conv2d(region, module.weight, module.bias, k.stride, 0, k.dilation, module.groups)


class WindowPass:
    """Windows of the steps of a net, each made from those of its inputs.

    What lies outside a map is what the operation that reads it pads with: zero for a convolution,
    nothing for a pool.

    Args:
        traced: the net's forward pass.
        steps: its steps.
        surroundings: of its windows.
        filtering: how a region is convolved, as `convolve` does.

    Attributes:
        values: step → (n, C, h, w), channels last.
        placed: step → where these lie.
        switches: max pool → index of each maximum in the flattened window that the pool reads,
            (n, C, h, w).
    """

    def __init__(
        self,
        traced: fx.GraphModule,
        steps: Mapping[str, Step],
        surroundings: Surroundings,
        filtering: Callable[[Tensor, Conv], Tensor] = convolve,
    ) -> None:
        self.steps, self.surroundings, self.filtering = steps, surroundings, filtering
        self.values: dict[str, Tensor] = {}
        self.placed: dict[str, Placed] = {}
        self.switches: dict[str, Tensor] = {}
        self._nodes = {node.name: node for node in traced.graph.nodes}
        self._interpreter = fx.Interpreter(traced)

    def put(self, name: str, values: Tensor, placed: Placed) -> None:
        """Windows of the net's input, which no step makes."""
        self.values[name], self.placed[name] = values, placed

    def make(self, step: Step, placed: Placed) -> None:
        """Windows of one step, from those of its inputs."""
        self.put(step.name, self._value(step, placed), placed)

    def _value(self, step: Step, placed: Placed) -> Tensor:
        match step.op:
            case Conv():
                return self.filtering(self._read(step, placed, 0.0), step.op)
            case MaxPool(kernel=k):
                region = self._read(step, placed, -torch.inf)
                values, self.switches[step.name] = F.max_pool2d(
                    region, k.size, k.stride, 0, k.dilation, return_indices=True
                )
                return values
            case AvgPool(kernel=k):
                region = self._read(step, placed, 0.0)
                total = F.avg_pool2d(region, k.size, k.stride, divisor_override=1)
                size = self.steps[step.inputs[0]].shape[1:]
                return total * shares(step.op, size, placed, total)
            case Pad(value=value):
                return self._read(step, placed, value)
            case Select(maps=maps):
                return self._region(step.inputs[0], placed)[:, list(maps)]
            case _:
                return self._pointwise(step, placed)

    def _read(self, step: Step, placed: Placed, outside: float) -> Tensor:
        """What a kernel reads to make windows."""
        (source,) = step.inputs
        wanted = placed.read_by(step.op, self.steps[source].shape[1:])
        return self._region(source, wanted, outside)

    def _pointwise(self, step: Step, placed: Placed) -> Tensor:
        node = self._nodes[step.name]
        regions = {source: self._region(source, placed) for source in step.sources}
        made: Tensor = run_from(self._interpreter, node, regions)
        return made

    def _region(self, source: str, wanted: Placed, outside: float | None = None) -> Tensor:
        values, held = self.values[source], self.placed[source]
        return self.surroundings(source, values, held, wanted, outside)
