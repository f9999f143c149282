"""What kind of step each node of a traced net is."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from pipeline.core.graph.kernels import conv_op, pool_op
from pipeline.core.graph.linear import Shapes, linear_op
from pipeline.core.graph.spelling import (
    DIFFERENCE,
    PRODUCT,
    QUOTIENT,
    SUM,
    Spelling,
    called,
)
from pipeline.core.graph.steps import (
    Add,
    Affine,
    Concat,
    Gate,
    GlobalPool,
    Input,
    Kernel,
    Normalise,
    Op,
    Opaque,
    Pad,
    Pass,
    Product,
    Rectify,
    Scale,
)

_PASSED = (
    nn.LocalResponseNorm, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.Identity, nn.Tanh, nn.Sigmoid, nn.Hardsigmoid, nn.Softsign,
)  # fmt: skip
_PASS = {
    "tanh", "dropout", "dropout2d", "feature_dropout", "alpha_dropout", "stochastic_depth",
    "contiguous", "clone", "detach", "to", "local_response_norm", "sigmoid", "hardsigmoid",
    "softsign",
}  # fmt: skip
_BY_STATISTICS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
_BY_OWN = {"group_norm", "layer_norm", "instance_norm"}
_OVER_PLACES = ((2, 3), (3, 2), (-2, -1), (-1, -2))


def classify(node: fx.Node, spelling: Spelling, shapes: Shapes) -> Op:
    """What kind of step a traced node is that returns maps."""
    if node.op == "placeholder":
        return Input()
    sources = spelling.varying(node)
    if not all(source.name in shapes for source in sources):
        return linear_op(node, spelling, shapes)
    if spelling.rectifies(node):
        return Rectify(int(spelling.squashes(sources[0])))
    if spelling.bounds(node) is not None:
        return Pass()
    if len(sources) == 1:
        whole, made = shapes[sources[0].name][1:], shapes[node.name][1:]
        pool = pool_op(node, spelling.module(node), whole, made)
        if pool is not None:
            return pool
    if node.op == "call_module":
        return _classify_module(node, spelling, shapes)
    return _classify_call(node, spelling, shapes)


def _classify_call(node: fx.Node, spelling: Spelling, shapes: Shapes) -> Op:
    name, sources = called(node), spelling.varying(node)
    if name in _PASS:
        return Pass()
    if name == "pad":
        return _classify_pad(node) or linear_op(node, spelling, shapes)
    if name == "mean" and shapes[node.name][1:] == (1, 1):
        given = {**dict(zip(("dim",), node.args[1:], strict=False)), **node.kwargs}
        if given.get("dim") in (*_OVER_PLACES, *map(list, _OVER_PLACES)):
            return GlobalPool()
    if name in _BY_OWN | {"batch_norm"}:
        return _classify_norm(node, spelling)
    if name in ("cat", "concat") and 1 in (*node.args[1:], node.kwargs.get("dim")):
        if len(node.args[0]) == len(sources):  # type: ignore[arg-type]
            return Concat()
    elif len(sources) == 1 and name in SUM | DIFFERENCE | PRODUCT | QUOTIENT:
        return _classify_affine(node, spelling, shapes) or linear_op(node, spelling, shapes)
    elif len(sources) == 2:
        return _classify_two(node, sources, spelling, shapes) or linear_op(node, spelling, shapes)
    return linear_op(node, spelling, shapes)


def _classify_norm(node: fx.Node, spelling: Spelling) -> Op:
    """A normalisation that is called as a function."""
    if called(node) not in ("batch_norm", "instance_norm"):
        return Normalise()
    own = "use_input_stats" if called(node) == "instance_norm" else "training"
    names = ("running_mean", "running_var", "weight", "bias", own, "momentum", "eps")
    given: dict[str, Any] = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
    if given.get("use_input_stats", called(node) == "instance_norm"):
        return Normalise()
    if given.get("training"):
        return Opaque("normalisation by statistics of the batch")
    variance, weight = (spelling.constant(given.get(name)) for name in ("running_var", "weight"))
    scale = torch.rsqrt(variance + given.get("eps", 1e-5))
    return Scale((scale if weight is None else scale * weight).view(-1, 1, 1))


def _classify_affine(node: fx.Node, spelling: Spelling, shapes: Shapes) -> Op | None:
    """Maps and a number, or one for each of them."""
    (source,) = spelling.varying(node)
    is_first = bool(node.args) and node.args[0] is source
    operands = [*node.args, *(v for k, v in node.kwargs.items() if k in ("input", "other"))]
    others = [spelling.constant(operand) for operand in operands if operand is not source]
    if len(others) != 1 or not _is_of_maps(others[0], shapes[source.name][0]):
        return None
    (constant,), name = others, called(node)
    if name in QUOTIENT and (not is_first or "rounding_mode" in node.kwargs):
        return Opaque(name)
    if "alpha" in node.kwargs:
        return None
    if name in SUM or (name in DIFFERENCE and is_first):
        return Pass()
    if name in DIFFERENCE:
        return Scale(-1.0)
    factor = constant if name in PRODUCT else 1 / constant
    return Scale(factor.view(-1, 1, 1) if isinstance(factor, Tensor) else factor)


def _classify_two(
    node: fx.Node, sources: list[fx.Node], spelling: Spelling, shapes: Shapes
) -> Op | None:
    """An operation on two maps."""
    name, made = called(node), shapes[node.name]
    both = [shapes[source.name] for source in sources]
    if both[0] == both[1] and name in SUM | DIFFERENCE:
        weight = node.kwargs.get("alpha", 1)
        assert isinstance(weight, int | float)
        weight = -weight if name in DIFFERENCE else weight
        return Add() if weight == 1 else Add((1.0, float(weight)))
    if name in QUOTIENT and node.args[0] is sources[0] and both[0] == made:
        return Gate(scaled=0, divides=True)
    if name in PRODUCT and made in both:
        gates = _gates(sources, spelling, shapes)
        return Gate(scaled=1 - gates.index(True)) if any(gates) else Product()
    return None


def _gates(sources: list[fx.Node], spelling: Spelling, shapes: Shapes) -> list[bool]:
    """Of two factors, which is a gate: the one that is spread over the other, or is squashed."""
    sizes = [_spread_from(source, shapes) for source in sources]
    if sizes[0] != sizes[1]:
        return [own < other for own, other in (sizes, sizes[::-1])]
    return [spelling.squashes(source) for source in sources]


def _spread_from(node: fx.Node, shapes: Shapes) -> int:
    """How many values a map has of its own."""
    if called(node) in ("expand", "expand_as"):
        node = node.all_input_nodes[0]
    channels, height, width = shapes[node.name]
    return channels * height * width


def _classify_pad(node: fx.Node) -> Op | None:
    given = {**dict(zip(("pad", "mode", "value"), node.args[1:], strict=False)), **node.kwargs}
    return _pad(given["pad"], str(given.get("mode", "constant")), given.get("value") or 0.0)


def _pad(sides: Any, mode: str, value: Any) -> Op | None:
    if mode != "constant" or len(sides) != 4 or min(sides) < 0:
        return None
    return Pad(Kernel((1, 1), padding=(sides[2], sides[0])), float(value))


def _is_of_maps(constant: Any, maps: int) -> bool:
    """Whether a constant is a number, or one for each map."""
    if isinstance(constant, Tensor):
        return constant.numel() == 1 or tuple(constant.shape[-3:]) == (maps, 1, 1)
    return isinstance(constant, int | float)


def _classify_module(node: fx.Node, spelling: Spelling, shapes: Shapes) -> Op:
    op: Op | None = None
    match module := spelling.module(node):
        case nn.Conv2d():
            op = conv_op(module)
        case nn.ConstantPad2d() | nn.ZeroPad2d():
            op = _pad(module.padding, "constant", module.value)
        case nn.BatchNorm2d() | nn.SyncBatchNorm() if not module.track_running_stats:
            return Opaque("normalisation by statistics of the batch")
        case nn.BatchNorm2d() | nn.SyncBatchNorm() | nn.InstanceNorm2d(track_running_stats=True):
            return Affine(module)
    if op is not None:
        return op
    if isinstance(module, _BY_STATISTICS):
        return Normalise()
    return Pass() if isinstance(module, _PASSED) else linear_op(node, spelling, shapes)
