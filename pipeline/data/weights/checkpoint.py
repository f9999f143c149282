"""Checkpoints as people have them: state dicts, wherever in a file, under whatever names.

Training scripts put a net's state dict beside their optimiser's state, and wrappers put a name of
their own before, or into, every name of the net.
"""

import argparse
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.core.nets.fitting import are_of_classifier, listed, missing_from
from pipeline.data.weights.files import brief
from pipeline.errors import RequestError

log = logging.getLogger(__name__)

# where scripts put the net, the first one first; of a net and its moving average, the net
_PLACES = (
    "state_dict", "model", "model_state_dict", "net", "network", "module", "weights",
    "state_dict_ema", "model_ema", "ema", "teacher", "student",
)  # fmt: skip
_DEEPEST = 4  # of one place in another

_SCALAR = np.float64().__reduce__()[0]  # the function that makes numpy's numbers from bytes

# what scripts keep beside the weights: options and scores, whose making runs no code of the file's
_HARMLESS: list[Any] = [
    argparse.Namespace,
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")},
]

# DataParallel's, also within a net, and torch.compile's
_WRAPPERS = {"module", "_orig_mod"}
# of a net and another that follows it, the latter; of a teacher and a student, as DINO has it
_SECOND = {"k", "momentum", "target", "ema", "student"}
_COUNTER = "n_averaged"  # torch.optim.swa_utils.AveragedModel's
# as in torchvision's own loader: dots are no longer allowed in the names of modules
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")

_HOW = "save its tensors alone, torch.save(net.state_dict(), 'weights.pth')"
_MOST_HEADER = 100_000_000  # safetensors' own limit, in bytes


def state_dict(data: bytes, weights: str) -> dict[str, Tensor]:
    """The state dict in a torch or safetensors file, under the names that it has there.

    Args:
        data: the file's content, which tells its format.
        weights: where it is from.

    Raises:
        RequestError: it holds something else.
    """
    return {
        key: tensor
        for key, tensor in _net_in(_content(data, weights), weights).items()
        if key != _COUNTER
    }


def is_safetensors(data: bytes) -> bool:
    """A length in eight bytes, and that much JSON."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= _MOST_HEADER


def _content(data: bytes, weights: str) -> object:
    try:
        if is_safetensors(data):
            return safetensors.torch.load(data)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # of pickles that others wrote
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # both formats' readers fail in many ways
        said = str(error)
        if "TorchScript" in said:
            raise RequestError(
                f"Weights {weights} are a TorchScript archive, which is not read; {_HOW}."
            ) from error
        if "Unsupported global" in said or "Unsupported class" in said:
            found = re.search(r"GLOBAL ([\w.]+)", said)
            what = f" ({found[1]})" if found else ""
            raise RequestError(
                f"Weights {weights} hold more than tensors{what}, which is not read for safety; "
                f"{_HOW}."
            ) from error
        raise RequestError(
            f"Weights {weights} are neither a torch state dict nor safetensors ({brief(error)})."
        ) from error


def _net_in(found: object, weights: str, depth: int = 0) -> Mapping[str, Tensor]:
    """The state dict of the net in what a checkpoint holds.

    Raises:
        RequestError: there is none, or a tensor of it is none that a net could have.
    """
    if isinstance(found, Mapping) and _is_state(found):
        _require_plain(found, weights)
        return found
    if isinstance(found, Mapping) and depth < _DEEPEST:
        for place in _PLACES:
            if isinstance(found.get(place), Mapping):
                return _net_in(found[place], weights, depth + 1)
        states = [value for value in found.values() if _is_state(value)]
        if len(states) == 1:
            return _net_in(states[0], weights, depth + 1)
    raise RequestError(f"Weights {weights} are no state dict ({_description(found)}); {_HOW}.")


def _is_state(found: object) -> bool:
    return (
        isinstance(found, Mapping)
        and len(found) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())
    )


def _description(found: object) -> str:
    if not isinstance(found, Mapping):
        return f"but a {type(found).__name__}"
    if not found:
        return "nothing is in it"
    if any(isinstance(value, Tensor) for value in found.values()):
        others = [key for key, value in found.items() if not isinstance(value, Tensor)]
        return f"beside tensors there are {listed(others)}" if others else "its keys are no names"
    return f"its keys are {listed(found)}"


def _require_plain(state: Mapping[str, Tensor], weights: str) -> None:
    """Refuse tensors that cannot become a net's.

    Raises:
        RequestError: naming the first of them.
    """
    for key, tensor in state.items():
        if tensor.is_complex() or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
            what = "on no device" if tensor.is_meta else f"of {tensor.dtype}"
        elif tensor.layout != torch.strided:
            what = f"of {tensor.layout}"
        else:
            continue
        raise RequestError(
            f"Weights {weights}: {listed([key])} is {what}; save plain tensors of floating numbers."
        )


def under_names_of(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under the names of a net, as far as these can be told.

    Wrappers' names are left out, DenseNet's old names become its new ones. Where the net is one of
    several things that were trained together (``model.``, ``backbone.``, ``encoder_q.`` …), it is
    what stands under the name that most of the net's tensors have before theirs. A line of the log
    says what is left out: all that is beside it, and a head that is not the net's.

    Raises:
        ValueError: two of its tensors would have the same name, or the net is there twice.
    """
    own = net.state_dict().keys()
    names = {key: key if key in own else _new_name(_unwrapped(key)) for key in state}
    first = _before_the_nets(names.values(), own)
    keys: dict[str, str] = {}
    for key, name in names.items():
        if name.startswith(first) and keys.setdefault(name.removeprefix(first), key) != key:
            new = name.removeprefix(first)
            raise ValueError(f"{key} and another of its tensors are both the net's {new}")
    missing = missing_from(net, keys)
    if are_of_classifier(net, missing):
        trunk = {_top(name) for name in own if name not in missing}
        keys = {name: key for name, key in keys.items() if name in own or _top(name) in trunk}
    left_out = [key for key in state if key not in set(keys.values())]
    if left_out:
        log.warning("The weights hold more than the net: %s left out.", listed(left_out))
    return {name: state[key] for name, key in keys.items()}


def _top(key: str) -> str:
    return key.partition(".")[0]


def _new_name(name: str) -> str:
    return _OLD_DENSENET.sub(r"\1\2", name)


def _unwrapped(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _before_the_nets(names: Iterable[str], own: Collection[str]) -> str:
    """What stands before the names of the net's tensors, with its dot.

    Raises:
        ValueError: it is there twice, and which is meant cannot be told.
    """
    names = list(names)
    found = Counter(
        ".".join([*parts[:at], ""])
        for name in names
        for parts in [name.split(".")]
        for at in range(len(parts))
        if ".".join(parts[at:]) in own
    )
    most = max(found.values(), default=0)
    firsts = [first for first, count in found.items() if count == most]
    if len(firsts) > 1:
        firsts = [first for first in firsts if not _SECOND & set(re.split(r"[._]", first))]
    if len(firsts) > 1:
        raise ValueError(f"the net is in it under {listed(firsts)}; save one of them alone")
    return firsts[0] if firsts else ""
