"""Nets with their weights: torchvision's, from a file or URL, bundled, or random."""

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.core.arithmetic import multiply_exactly
from pipeline.core.graph.verify import verify
from pipeline.core.nets import custom, known
from pipeline.core.nets.known import ColourOrder, Net, subtracting
from pipeline.core.nets.old import Variant
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.demo.images import CLASS_NAMES, WEIGHTS
from pipeline.data.weights import keras, onnx
from pipeline.data.weights.files import brief, read_bytes, read_state
from pipeline.data.weights.state_dict import StoredWeights, from_state_dict
from pipeline.errors import RequestError

BUNDLED = "bundled"
OWN = "its own"
"""What a function of one's own gave its net."""

_RANDOM = "random:"

# of the old nets; whatever else a file is called, it is a state dict
_READERS: dict[str, Callable[[bytes, str], StoredWeights]] = {
    ".onnx": onnx.read,
    ".h5": keras.read,
    ".hdf5": keras.read,
}


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
    if not custom.is_custom(name) and name not in known.names():
        close = difflib.get_close_matches(name, known.names(), n=1)
        hint = f", did you mean {close[0]}" if close else ""
        all_names = ", ".join(known.names())
        raise RequestError(f"There is no net {name!r}{hint}; known are {all_names}.")
    multiply_exactly()
    weights = weights or _default(name)
    seed = _seed(weights)
    if custom.is_custom(name):
        trained = _custom(name, weights, seed)
    elif seed is not None:
        trained = _Trained(known.build(name, seed=seed), known.preprocessing(name))
    else:
        trained = _old(name, weights) if name in known.VARIANTS else _known(name, weights)
    if (colour_order or trained.colour_order) == "bgr":
        known.swap_red_and_blue(trained.module)
    net = _assembled(name, trained, mean)
    return Weighted(net, weights, digest(net.graph.trunk.state_dict()))


@dataclass(frozen=True)
class _Trained:
    """A net with its weights, as they were trained."""

    module: nn.Module
    preprocessing: Preprocessing
    categories: tuple[str, ...] | None = None
    variant: Variant | None = None
    colour_order: ColourOrder = "rgb"


def _default(name: str) -> str:
    if custom.is_custom(name):
        return OWN
    if name in known.VARIANTS:
        raise RequestError(
            f"{name} has no weights that can be fetched; give --weights FILE (a torch state dict, "
            "the ONNX model zoo's file, or Keras' .h5), or --weights random:0."
        )
    return BUNDLED if name == known.DEMO else next(iter(known.torchvision_weights(name)))


def _known(name: str, weights: str) -> _Trained:
    """The demo's net, or one of torchvision's."""
    official = known.torchvision_weights(name)
    state: Mapping[str, Tensor]
    if weights in official:
        state = _torchvision(name, weights, official[weights])
    elif weights == BUNDLED and name == known.DEMO:
        state = safetensors.torch.load_file(WEIGHTS)
    else:
        state = _state_dict(name, weights)
    module = known.build(name)
    last = known.classifier_bias(module)
    classes = len(state[last]) if last in state and state[last].dim() == 1 else None
    if classes not in (None, len(module.state_dict()[last])):
        module = known.build(name, classes)  # fine-tuned for other classes
    with _fitting(name, weights):
        known.fit(module, state)
    prepared = known.preprocessing(name, weights if weights in official else None)
    if name == known.DEMO:
        return _Trained(module, prepared, CLASS_NAMES)
    if weights in official:
        return _Trained(module, prepared, tuple(official[weights].meta["categories"]))
    return _Trained(module, prepared, _categories_of(module, name))


def _old(name: str, weights: str) -> _Trained:
    """One of the nets of which several variants were published."""
    suffix = Path(weights).suffix
    with _fitting(name, weights):
        if suffix in _READERS:
            stored = _READERS[suffix](read_bytes(weights, name), name)
        else:
            stored = from_state_dict(read_state(weights, name), name)
        module = stored.module(name)
    categories = _categories_of(module, "alexnet")  # all were trained for the same classes
    return _Trained(module, stored.preprocessing, categories, stored.variant, stored.colour_order)


def _custom(name: str, weights: str, seed: int | None) -> _Trained:
    """A net of one's own."""
    try:
        made = known.make_custom(name, seed or 0)
    except ValueError as error:
        raise RequestError(f"Net {error}.") from error
    if weights != OWN and seed is None:
        state = _state_dict(name, weights)
        with _fitting(name, weights):
            known.fit(made.module, state)
    return _Trained(made.module, made.preprocessing, made.categories)


@contextmanager
def _fitting(name: str, weights: str) -> Iterator[None]:
    """A ValueError in here says why these weights are not of this net."""
    try:
        yield
    except ValueError as error:
        raise RequestError(f"Weights {weights} do not fit {name}: {error}.") from error


def _state_dict(name: str, weights: str) -> dict[str, Tensor]:
    if weights.endswith(tuple(_READERS)):
        raise RequestError(
            f"Weights {weights}: ONNX and Keras files are read for {', '.join(known.VARIANTS)} "
            f"only, for {name} a torch state dict."
        )
    return read_state(weights, name)


def _assembled(name: str, trained: _Trained, mean: tuple[float, float, float] | None) -> Net:
    prepared = trained.preprocessing if mean is None else subtracting(trained.preprocessing, mean)
    try:
        net = known.assemble(name, trained.module, prepared, trained.categories, trained.variant)
        verify(trained.module, net.graph, prepared.input_size)
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


def _seed(weights: str) -> int | None:
    """The seed of random weights; None for any others."""
    if not weights.startswith(_RANDOM):
        return None
    seed = weights.removeprefix(_RANDOM)
    if not (seed.isdecimal() and int(seed) < 2**63):
        raise RequestError(
            f"Weights {weights!r}: the seed must be a number below 2^63, as in random:0."
        )
    return int(seed)


def _torchvision(name: str, weights: str, member: Any) -> Mapping[str, Tensor]:
    """What torchvision fetches, or fetched before."""
    file = Path(torch.hub.get_dir(), "checkpoints", Path(member.url).name)
    try:
        state: Mapping[str, Tensor] = member.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
        return state
    except Exception as error:  # of the network, of the disk, or of what was fetched before
        if file.exists():
            raise RequestError(
                f"torchvision's weights {weights} of {name}, kept as {file}, cannot be read "
                f"({brief(error)}); remove that file, and it is fetched anew."
            ) from error
        raise RequestError(
            f"torchvision's weights {weights} of {name} could not be fetched from {member.url} "
            f"({brief(error)}); give a local file, --weights PATH, or --weights random:0."
        ) from error


def _categories_of(module: nn.Module, name: str) -> tuple[str, ...] | None:
    """The default weights' categories, if a file's weights tell as many classes apart."""
    default = next(iter(known.torchvision_weights(name).values()), None)
    categories = default and tuple(default.meta["categories"])
    classes = len(module.state_dict()[known.classifier_bias(module)])
    return categories if categories and len(categories) == classes else None
