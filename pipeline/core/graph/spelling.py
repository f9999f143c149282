"""How torch spells the operations of a net: modules, functions, methods and operators.

A function or method goes by its name, whoever it belongs to: `torch.add`,
`Tensor.add` and the operator + are all called add.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

Bounds = tuple[float, float]

_RECTIFIERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU,
    nn.GELU, nn.Softplus, nn.Hardswish, nn.Mish,
)  # fmt: skip
_RECTIFY = {
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "silu", "gelu",
    "softplus", "hardswish", "mish",
}  # fmt: skip
_NORMS = (
    nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm,
    nn.LocalResponseNorm,
)  # fmt: skip
_NORMALISE = {"batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm"}
_SQUASHERS = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, nn.Softmax2d, nn.Softsign)
_SQUASH = {"sigmoid", "hardsigmoid", "softmax", "softsign"}
SUM, DIFFERENCE = {"add"}, {"sub", "subtract"}
PRODUCT, QUOTIENT = {"mul", "multiply"}, {"truediv", "div", "true_divide", "divide"}
_AFFINE = SUM | DIFFERENCE | PRODUCT | QUOTIENT
_CLAMP = (("min", -math.inf), ("max", math.inf))
_BOUNDS: dict[str, tuple[tuple[str, float], ...]] = {
    "relu": (("", 0.0), ("", math.inf)),
    "relu6": (("", 0.0), ("", 6.0)),
    "hardtanh": (("min_val", -1.0), ("max_val", 1.0)),
    "clamp": _CLAMP,
    "clip": _CLAMP,
    "clamp_min": (("min", -math.inf), ("", math.inf)),
}
"""Of a function that only cuts values off: its bounds, by their names and if not given."""


@dataclass(frozen=True)
class Spelling:
    """What the nodes of a traced net are.

    Attributes:
        modules: path → module.
        constants: node → what it returns, where that is the same for every picture.
    """

    modules: dict[str, nn.Module]
    constants: dict[str, Tensor]

    @classmethod
    def of(cls, traced: fx.GraphModule) -> "Spelling":
        """The spelling of a traced net."""
        return cls(dict(traced.named_modules()), constants_of(traced))

    def varying(self, node: fx.Node) -> list[fx.Node]:
        """The inputs of a node that depend on the picture."""
        return [source for source in node.all_input_nodes if source.name not in self.constants]

    def is_conv(self, node: fx.Node) -> bool:
        """Whether the node is a convolution."""
        return isinstance(self.module(node), nn.Conv2d)

    def normalises(self, node: fx.Node) -> bool:
        """Whether the node is a normalisation, also one spelled as constant factors and shifts."""
        is_norm = isinstance(self.module(node), _NORMS) or called(node) in _NORMALISE
        return is_norm or self.shifts(node)

    def shifts(self, node: fx.Node) -> bool:
        """Whether the node scales or shifts maps by a constant."""
        return called(node) in _AFFINE and len(self.varying(node)) == 1

    def is_fresh(self, node: fx.Node) -> bool:
        """Whether what a node returns is its own: others may return their input itself."""
        return self.is_conv(node) or self.normalises(node) or self.adds(node)

    def is_relu(self, node: fx.Node) -> bool:
        """Whether the node is ReLU itself."""
        return isinstance(self.module(node), nn.ReLU) or called(node) == "relu"

    def rectifies(self, node: fx.Node) -> bool:
        """Whether the node is ReLU or one of its leaky, smooth or bounded relatives."""
        bounds = self.bounds(node)
        if bounds is not None:
            return bounds[0] >= 0
        if self.is_swish(node):
            return True
        return isinstance(self.module(node), _RECTIFIERS) or called(node) in _RECTIFY

    def activates(self, node: fx.Node) -> bool:
        """Whether the node belongs to the layer of a convolution that it follows."""
        is_tanh = isinstance(self.module(node), nn.Tanh) or called(node) == "tanh"
        return is_tanh or self.cuts_off(node) or self.rectifies(node)

    def cuts_off(self, node: fx.Node) -> bool:
        """Whether the node keeps the order of values, but makes equal what is beyond a bound."""
        return self.bounds(node) is not None or self.is_hardsigmoid(node)

    def is_hardsigmoid(self, node: fx.Node) -> bool:
        """Whether the node is Hardsigmoid, clamp(x / 6 + 1 / 2, 0, 1)."""
        return isinstance(self.module(node), nn.Hardsigmoid) or called(node) == "hardsigmoid"

    def adds(self, node: fx.Node) -> bool:
        """Whether the node is a sum or difference of maps."""
        return called(node) in SUM | DIFFERENCE and len(self.varying(node)) == 2

    def bounds(self, node: fx.Node) -> Bounds | None:
        """Of a node that only cuts values off: the least and the largest that it returns."""
        match self.module(node):
            case nn.Hardtanh(min_val=low, max_val=high):  # ReLU6 is one
                return low, high
            case nn.ReLU():
                return 0.0, math.inf
        if called(node) not in _BOUNDS:
            return None
        options = _BOUNDS[called(node)]
        given = dict(zip((name for name, _ in options if name), node.args[1:], strict=False))
        given |= {name: value for name, value in node.kwargs.items() if value is not None}
        found: list[Any] = [given.get(name, usual) for name, usual in options]
        if any(isinstance(bound, fx.Node) for bound in found):
            return None
        return float(found[0]), float(found[1])

    def squashes(self, node: fx.Node) -> bool:
        """Whether what a node returns lies between bounds, as a gate does."""
        return isinstance(self.module(node), _SQUASHERS) or called(node) in _SQUASH

    def is_swish(self, node: fx.Node) -> bool:
        """Whether the node is x · sigmoid(x) or its like, written out."""
        sources = self.varying(node)
        return (
            len(sources) == 2
            and called(node) in PRODUCT
            and any(
                self.squashes(gate) and gate.all_input_nodes == [scaled]
                for gate, scaled in (sources, sources[::-1])
            )
        )

    def constant(self, operand: Any) -> Any:
        """The value of an operand that is the same for every picture."""
        return self.constants.get(operand.name) if isinstance(operand, fx.Node) else operand

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls."""
        return self.modules.get(str(node.target)) if node.op == "call_module" else None


def called(node: fx.Node) -> str:
    """What a function or method is called; nothing for a module."""
    if node.op == "call_method":
        return str(node.target)
    return str(getattr(node.target, "__name__", "")) if node.op == "call_function" else ""


def constants_of(traced: fx.GraphModule) -> dict[str, Tensor]:
    """Node → what it returns, where that is the same for every picture."""
    interpreter = fx.Interpreter(traced)
    found: dict[str, Tensor] = {}
    for node in traced.graph.nodes:
        sources = node.all_input_nodes
        follows = bool(sources) and all(source in interpreter.env for source in sources)
        if node.op == "get_attr" or (follows and node.op != "output"):
            with torch.no_grad():
                found[node.name] = interpreter.env[node] = interpreter.run_node(node)
    return found
