"""Nets with their weights: torchvision's, from a file or URL, bundled, or random."""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.core.nets import custom, known
from pipeline.core.nets.known import ColourOrder, Net, subtracting
from pipeline.core.nets.old import Variant
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.demo.images import CLASS_NAMES
from pipeline.data.weights import keras, onnx
from pipeline.data.weights.files import brief, read_bytes, read_state
from pipeline.data.weights.state_dict import from_state_dict
from pipeline.errors import RequestError

BUNDLED = "bundled"
OWN = "its own"
"""What a function of one's own gave its net."""

_RANDOM = "random:"
_FORMATS = (".onnx", ".h5", ".hdf5")


@dataclass(frozen=True)
class Weighted:
    """A net with its weights.

    Attributes:
        net: ready to be mined.
        weights: what they are, as a run records them.
        digest: SHA-256 of the trunk's tensors, in hex.
    """

    net: Net
    weights: str
    digest: str


def load_net(
    name: str,
    weights: str | None = None,
    colour_order: ColourOrder | None = None,
    mean: tuple[float, float, float] | None = None,
) -> Weighted:
    """A net by name, with the weights asked for.

    Args:
        name: one of `known.names`, or ``module:function``, a function of one's own that
            returns a net and its preprocessing.
        weights: the name of torchvision's weights; a ``.pth`` or ``.safetensors`` path or URL, for
            the old nets also ``.onnx`` or Keras' ``.h5``; ``random:SEED``; or None for the net's
            default.
        colour_order: of the channels that the weights take, if it is not the usual one of their
            format. The filters of the first layer are turned, so the net takes R, G, B always.
        mean: of R, G, B, subtracted from 0–255 without any division, if that is not the usual one
            either.

    Raises:
        RequestError: an unknown net, or weights that are not there or do not fit.
    """
    if custom.is_custom(name):
        weights = weights or OWN
        found = _custom(name, weights)
    elif name not in known.names():
        raise RequestError(_unknown_net(name))
    else:
        weights = weights or _default(name)
        found = _old(name, weights) if name in known.VARIANTS else _known(name, weights)
    if (colour_order or found.colour_order) == "bgr":
        known.swap_red_and_blue(found.module)
    prepared = found.preprocessing if mean is None else subtracting(found.preprocessing, mean)
    net = _assembled(name, found, prepared)
    return Weighted(net, weights, digest(net.graph.trunk.state_dict()))


@dataclass(frozen=True)
class _Found:
    """A net with its weights, as they were trained."""

    module: nn.Module
    preprocessing: Preprocessing
    categories: tuple[str, ...] | None = None
    variant: Variant | None = None
    colour_order: ColourOrder = "rgb"


def _default(name: str) -> str:
    if name in known.VARIANTS:
        raise RequestError(
            f"{name} has no weights that can be fetched; give --weights FILE (a torch state dict, "
            "the ONNX model zoo's file, or Keras' .h5), or --weights random:0."
        )
    return BUNDLED if name == known.DEMO else next(iter(known.torchvision_weights(name)))


def _known(name: str, weights: str) -> _Found:
    official = known.torchvision_weights(name)
    categories = tuple(CLASS_NAMES) if name == known.DEMO else None
    if weights.startswith(_RANDOM):
        module, categories = known.build(name, seed=_seed(weights)), None
    elif weights in official:
        module = _torchvision(name, weights)
        categories = tuple(official[weights].meta["categories"])
    elif weights == BUNDLED and name == known.DEMO:
        module = known.build(name)
        known.fit(module, _bundled())
    else:
        _refuse_format(name, weights)
        module = _fitted(name, read_state(weights, name), weights)
        categories = categories or _categories_of(module, name)
    prepared = known.preprocessing(name, weights if weights in official else None)
    return _Found(module, prepared, categories)


def _old(name: str, weights: str) -> _Found:
    """One of the nets of which several variants were published."""
    if weights.startswith(_RANDOM):
        return _Found(known.build(name, seed=_seed(weights)), known.preprocessing(name))
    try:
        if weights.endswith(_FORMATS):
            reader = onnx if weights.endswith(".onnx") else keras
            stored = reader.read(read_bytes(weights, name), name)
        else:
            stored = from_state_dict(read_state(weights, name), name)
        module = stored.module(name)
    except ValueError as error:
        raise RequestError(f"Weights {weights} do not fit {name}: {error}.") from error
    categories = _categories_of(module, "alexnet")  # all were trained for the same classes
    return _Found(module, stored.preprocessing, categories, stored.variant, stored.colour_order)


def _custom(name: str, weights: str) -> _Found:
    """A net of one's own."""
    try:
        made = known.make_custom(name, _seed(weights) if weights.startswith(_RANDOM) else 0)
    except ValueError as error:
        raise RequestError(f"Net {error}.") from error
    if weights != OWN and not weights.startswith(_RANDOM):
        _refuse_format(name, weights)
        try:
            known.fit(made.module, read_state(weights, name))
        except ValueError as error:
            raise RequestError(f"Weights {weights} do not fit {name}: {error}.") from error
    return _Found(made.module, made.preprocessing, made.categories)


def _refuse_format(name: str, weights: str) -> None:
    if weights.endswith(_FORMATS):
        raise RequestError(
            f"Weights {weights}: ONNX and Keras files are read for {', '.join(known.VARIANTS)} "
            f"only, for {name} a torch state dict."
        )


def _assembled(name: str, found: _Found, prepared: Preprocessing) -> Net:
    try:
        net = known.assemble(name, found.module, prepared, found.categories, found.variant)
    except (ValueError, RuntimeError, TypeError) as error:  # the last two from the net's own code
        raise RequestError(f"Net {name} cannot be used: {brief(error)}.") from error
    if not net.graph.layers and not net.graph.opaque:
        raise RequestError(f"Net {name} has no convolution, so there is nothing to mine.")
    return net


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of some tensors, by name, in hex."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _unknown_net(name: str) -> str:
    nets = known.names()
    close = difflib.get_close_matches(name, nets, n=1)
    hint = f", did you mean {close[0]}" if close else ""
    return f"There is no net {name!r}{hint}; known are {', '.join(nets)}."


def _seed(weights: str) -> int:
    seed = weights.removeprefix(_RANDOM)
    if not (seed.isdecimal() and int(seed) < 2**63):
        raise RequestError(
            f"Weights {weights!r}: the seed must be a number below 2^63, as in random:0."
        )
    return int(seed)


def _torchvision(name: str, weights: str) -> nn.Module:
    member = known.torchvision_weights(name)[weights]
    kept = Path(torch.hub.get_dir(), "checkpoints", Path(member.url).name)
    try:
        state = member.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # of the network, of the disk, or of what was fetched before
        if kept.exists():
            raise RequestError(
                f"torchvision's weights {weights} of {name}, kept as {kept}, cannot be read "
                f"({brief(error)}); remove that file, and it is fetched anew."
            ) from error
        raise RequestError(
            f"torchvision's weights {weights} of {name} could not be fetched from {member.url} "
            f"({brief(error)}); give a local file, --weights PATH, or --weights random:0."
        ) from error
    return _fitted(name, state, weights)


def _fitted(name: str, state: Mapping[str, Tensor], weights: str) -> nn.Module:
    module = known.build(name)
    last = known.classifier_bias(module)
    classes = len(state[last]) if last in state and state[last].dim() == 1 else None
    if classes not in (None, len(module.state_dict()[last])):
        module = known.build(name, classes)  # fine-tuned for other classes
    try:
        known.fit(module, state)
    except ValueError as error:
        raise RequestError(f"Weights {weights} do not fit {name}: {error}.") from error
    return module


def _categories_of(module: nn.Module, name: str) -> tuple[str, ...] | None:
    """The default weights' categories, if a file's weights tell as many classes apart."""
    official = known.torchvision_weights(name)
    if not official:
        return None
    names = tuple(next(iter(official.values())).meta["categories"])
    classes = len(module.state_dict()[known.classifier_bias(module)])
    return names if classes == len(names) else None


def _bundled() -> dict[str, Tensor]:
    data = resources.files("pipeline.data.demo").joinpath("net.safetensors").read_bytes()
    return {key: tensor.float() for key, tensor in safetensors.torch.load(data).items()}
