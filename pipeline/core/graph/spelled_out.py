"""How else to spell the calls of a net: out of place, as modules, for any number of pictures."""

import copy
import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.graph import inplace_methods

from pipeline.core.graph.spelling import constants_of

Shapes = dict[str, tuple[int, ...]]
"""Of every node that returns a tensor."""

SHAPING = {"view", "reshape", "expand"}
"""Calls that are given sizes, the number of pictures among them."""


def storage(tensor: Tensor) -> int:
    """Which memory a tensor lies in."""
    return int(tensor.untyped_storage()._cdata)  # an address would not tell tensors without values


def is_same(tensor: Tensor, other: Tensor) -> bool:
    """Whether both are all of the same numbers in the same places."""
    places = [(of.storage_offset(), of.shape, of.stride()) for of in (tensor, other)]
    return storage(tensor) == storage(other) and places[0] == places[1]


def spell_out_of_place(node: fx.Node) -> None:
    """Spell a call that overwrites what it reads as the one that does not.

    A module is left as it is.
    """
    target: Any = node.target
    if node.op == "call_method":
        node.target = str(target).removesuffix("_")
    elif node.op == "call_function":
        name = target.__name__
        if name in inplace_methods:
            node.target = getattr(operator, name.removeprefix("i"))
        elif "inplace" in (known := _parameters(target)):
            node.args = node.args[: known.index("inplace")]
            node.kwargs = {**node.kwargs, "inplace": False}
        else:
            node.target = getattr(_home(target), name.removesuffix("_"))


def spell_out_modules(traced: fx.GraphModule, net: nn.Module, shapes: Shapes) -> None:
    """Let modules overwrite nothing, and make mirrored borders operations of their own.

    Args:
        traced: its modules are replaced; those of `net` stay as they are.
        net: that was traced.
        shapes: of every node; new ones are added.
    """
    for node in traced.graph.nodes:
        module: Any = net.get_submodule(node.target) if node.op == "call_module" else None
        mirrors = isinstance(module, nn.Conv2d) and module.padding_mode != "zeros"
        if mirrors or getattr(module, "inplace", False):
            module = copy.copy(module)
            traced.set_submodule(node.target, module)
        if mirrors:
            _pad_before(node, module, shapes)
        elif getattr(module, "inplace", False):
            module.inplace = False
    traced.recompile()


def spell_convolutions(traced: fx.GraphModule, returned: Mapping[str, Sequence[str]]) -> None:
    """Make modules of convolutions that are called as functions, where their weights are constant.

    So are those of modules that standardise their weights, or pad as TensorFlow does.

    Args:
        traced: its modules are replaced.
        returned: path of a module → the nodes that it returned; a convolution has its name.
    """
    owners: dict[str, str] = {}
    for path, nodes in returned.items():  # the innermost first
        for node in nodes:
            owners.setdefault(node, path)
    calls = [
        node
        for node in traced.graph.nodes
        if node.op == "call_function" and node.target is F.conv2d and owners.get(node.name)
    ]
    constants = constants_of(traced) if calls else {}
    modules: dict[str, nn.Module] = {}
    for node in calls:
        given: dict[str, Any] = dict(zip(_CONV2D, node.args, strict=False)) | node.kwargs
        named = [weight.name for part in ("weight", "bias") if (weight := given.pop(part, None))]
        if all(name in constants for name in named):
            node.op, node.target = "call_module", owners[node.name]
            node.args, node.kwargs = (given.pop("input"),), {}
            weights = (constants[name] for name in named)
            modules[owners[node.name]] = _convolution(*weights, **given)
    traced.graph.eliminate_dead_code()  # while what computed the weights is still there
    for path, module in modules.items():
        traced.set_submodule(path, module)
    traced.recompile()


_CONV2D = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def _convolution(
    weight: Tensor, bias: Tensor | None = None, *, groups: int = 1, **given: Any
) -> nn.Conv2d:
    """A module with these weights themselves, or with what was computed of the net's."""
    (maps, few), size = weight.shape[:2], (weight.shape[2], weight.shape[3])
    conv = nn.Conv2d(few * groups, maps, size, groups=groups, device="meta", **given)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and not isinstance(value, nn.Parameter):
            value = nn.Parameter(value, requires_grad=False)
        setattr(conv, name, value)
    return conv.eval()


def target_name(node: fx.Node) -> str:
    """What a node calls, by name or path."""
    return node.target if isinstance(node.target, str) else node.target.__name__


def spell_any_number(node: fx.Node, source: Tensor, made: Tensor) -> None:
    """Give a call that shapes a tensor its sizes without the number of pictures, the first one."""
    sizes = node.args[1:] or node.kwargs.values()
    if any(isinstance(size, torch.dtype) for size in sizes):  # a view as another type
        return
    is_of_all = target_name(node) != "expand" or source.shape[:1] == made.shape[:1]
    if is_of_all and made.ndim:
        node.args, node.kwargs = (node.args[0], (-1, *made.shape[1:])), {}


def _pad_before(node: fx.Node, conv: Any, shapes: Shapes) -> None:
    """Make the mirrored border of a convolution's maps an operation of its own."""
    (maps,) = node.args
    assert isinstance(maps, fx.Node)
    left, right, top, bottom = conv._reversed_padding_repeated_twice
    with node.graph.inserting_before(node):
        padded = node.graph.call_function(
            F.pad, (maps, (left, right, top, bottom), conv.padding_mode)
        )
    n, channels, height, width = shapes[maps.name]
    shapes[padded.name] = (n, channels, top + height + bottom, left + width + right)
    node.args = (padded,)
    conv.padding, conv.padding_mode = (0, 0), "zeros"


def _home(function: Any) -> Any:
    """The module of torch's that has a function."""
    homes = (torch, F, inspect.getmodule(function))
    return next(home for home in homes if getattr(home, function.__name__, None) is function)


def _parameters(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:  # of a function that is not written in Python
        return []
