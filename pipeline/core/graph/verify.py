"""Whether a traced net computes what the net itself does: checked once, when it is loaded.

Whatever a tracer may miss (hooks, values that steer the code, an operation in place that it does
not see) shows in some module's result, or in the net's own.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from pipeline.core.graph.symbolic import symbolic, tensors
from pipeline.core.graph.trace import Graph

_TOLERANCE = 1e-3
"""Relative; the same operations in the same order differ in their last bits at most."""

_OUTPUT = "the net itself"

Calls = dict[str, list[Tensor]]
"""Path of a module → what sums up its result, for each time it was called."""


def verify(net: nn.Module, graph: Graph, input_size: tuple[int, int], channels: int = 3) -> None:
    """Compare every module's results on a random picture, and the layers' with another beside it.

    Args:
        net: as the user has it, in inference mode.
        graph: what `trace` made of it.
        input_size: (H, W) of its input.
        channels: C of its input.

    Raises:
        ValueError: they differ; the text names the first module that does.
    """
    weight = next(net.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, channels, *input_size, generator=generator)
    image = image.to(weight.device, weight.dtype)
    traced = symbolic(net, input_size, channels).module
    paths = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    with torch.no_grad():
        replay = _Replay(traced, _own_calls(net, image, paths))
        found = replay.run(image.clone())
        replay.compare(_OUTPUT, found)
        try:
            of_layers = graph.trunk(torch.cat([image, 2 * image]))
        except RuntimeError as error:
            raise ValueError(f"traced, it takes one picture at a time: {error}") from error
        for layer, maps in zip(graph.layers, of_layers, strict=True):
            if not _agree(_summary(replay.of_steps[layer.step]), _summary(maps[:1])):
                raise ValueError(
                    f"traced, layer {layer.name} computes something else, or what it computes of "
                    "a picture depends on the others beside it"
                )


def _own_calls(net: nn.Module, image: Tensor, paths: set[str]) -> Calls:
    """What the modules at these paths return in the net's own forward pass."""
    calls: Calls = {path: [] for path in (*paths, _OUTPUT)}
    hooks = [
        net.get_submodule(path).register_forward_hook(
            lambda _, __, made, path=path: calls[path].append(_summary(made))
        )
        for path in paths
    ]
    try:
        calls[_OUTPUT].append(_summary(net(image)))
    finally:
        for hook in hooks:
            hook.remove()
    return calls


class _Replay(fx.Interpreter):
    """Runs a traced net and compares what its modules return with what they returned before."""

    def __init__(self, traced: fx.GraphModule, calls: Calls) -> None:
        super().__init__(traced)
        self.calls = {path: iter(made) for path, made in calls.items()}
        self.of_steps: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.of_steps[n.name] = value
        if n.op == "call_module":
            self.compare(str(n.target), value)
        return value

    def compare(self, path: str, value: Any) -> None:
        expected = next(self.calls[path], torch.empty(0))
        if not _agree(expected, _summary(value)):
            raise ValueError(
                f"traced, {path} returns something else than in the net's own forward pass; a "
                "forward hook, or code that depends on the picture's values, cannot be followed"
            )


def _summary(made: Any) -> Tensor:
    """(n, 3) mean, mean magnitude and largest value of all tensors in a result."""
    rows = [
        torch.stack([part.mean(), part.abs().mean(), part.amax()])
        for part in (tensor.double() for tensor in tensors(made) if tensor.numel())
    ]
    return torch.stack(rows) if rows else torch.empty(0)


def _agree(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape:
        return False
    if not expected.numel():
        return True
    scale = expected.abs().amax(-1, keepdim=True).clamp_min(1e-30)
    return torch.allclose(found / scale, expected / scale, atol=_TOLERANCE, equal_nan=True)
