"""Calls that overwrite what they read: which tensors are the same, and how else to spell a call."""

import inspect
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.fx.graph import inplace_methods


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


def _home(function: Any) -> Any:
    """The module of torch's that has a function."""
    homes = (torch, F, inspect.getmodule(function))
    return next(home for home in homes if getattr(home, function.__name__, None) is function)


def _parameters(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:  # of a function that is not written in Python
        return []
