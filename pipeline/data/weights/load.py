"""Nets with their weights: torchvision's, from a file or URL, bundled, or random."""

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import safetensors.torch
from torch import Tensor, nn

from pipeline.core.arithmetic import multiply_exactly
from pipeline.core.graph.verify import verify
from pipeline.core.nets import custom, known, of_timm
from pipeline.core.nets.fitting import classifier_bias, fit
from pipeline.core.nets.known import ColourOrder, Net, subtracting
from pipeline.core.nets.old import Variant
from pipeline.core.nets.preprocessing import Kernel, Preprocessing
from pipeline.data.demo.images import CLASS_NAMES, WEIGHTS
from pipeline.data.weights import keras, onnx
from pipeline.data.weights.checkpoint import is_safetensors, state_dict, under_names_of
from pipeline.data.weights.files import brief, read_bytes
from pipeline.data.weights.official import categories_of, fetched, published, timms
from pipeline.data.weights.state_dict import StoredWeights, from_state_dict
from pipeline.errors import RequestError

BUNDLED = "bundled"
OWN = "its own"
"""What a function of one's own gave its net."""

_RANDOM = "random:"

_ZIP = b"PK\x03\x04"  # what torch.save writes
Reader = Callable[[bytes, str], StoredWeights]

# of the old nets, by a file's first bytes and by the end of its name; any other is a state dict
_BEGINNINGS: dict[bytes, Reader] = {b"\x08": onnx.read, b"\x89HDF\r\n": keras.read}
_ENDINGS: dict[str, Reader] = {".onnx": onnx.read, ".h5": keras.read, ".hdf5": keras.read}


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
    resize: Kernel | None = None,
) -> Weighted:
    """A net by name, with the weights asked for.

    Args:
        name: one of `known.names`, or ``module:function``, a function of one's own that
            returns a net and its preprocessing.
        weights: the name of torchvision's weights; the path or URL of a torch or safetensors file,
            for the old nets also of an ONNX file or of Keras'; ``random:SEED``; or None for the
            net's default. Without the classifier, the net has no classes and no `module`.
        colour_order: of the channels that the weights take, if it is not the usual one of their
            format. The filters of the first layer are turned, so the net takes R, G, B always.
        mean: of R, G, B, subtracted from 0–255 without any division, if that is not the usual one
            either.
        resize: whose code resizes pictures, if not torch's, or what a net of one's own wants.

    Raises:
        RequestError: an unknown net, or weights that are not there or do not fit.
    """
    if not custom.is_custom(name) and not known.is_known(name):
        close = difflib.get_close_matches(name, known.names(), n=1)
        hint = f", did you mean {close[0]}" if close else ""
        all_names = ", ".join(known.names())
        raise RequestError(f"There is no net {name!r}{hint}; known are {all_names}.")
    multiply_exactly()
    weights = weights or _default(name)
    seed = _seed(weights)
    if of_timm.is_timms(name) and seed is None:
        trained = _timms(name, weights)
    elif custom.is_custom(name):
        trained = _custom(name, weights, seed)
    elif seed is not None:
        trained = _Trained(known.build(name, seed=seed), known.preprocessing(name))
    else:
        trained = _old(name, weights) if name in known.VARIANTS else _known(name, weights)
    if colour_order and trained.preprocessing.mode != "RGB":
        taken = trained.preprocessing.mode
        raise RequestError(f"Net {name} takes {taken}; --colour-order is for R, G, B.")
    if (colour_order or trained.colour_order) == "bgr":
        known.swap_red_and_blue(trained.module)
    if resize is not None:
        trained = replace(trained, preprocessing=replace(trained.preprocessing, kernel=resize))
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
    has_classifier: bool = True


def _default(name: str) -> str:
    if of_timm.is_timms(name):
        with _usable():
            tags = of_timm.tags(name)
        if not tags:
            raise RequestError(f"timm has no weights of {name}; give --weights FILE, or random:0.")
        return tags[0]
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
        state, own = fetched(name, weights, official[weights]), weights
    elif weights == BUNDLED and name == known.DEMO:
        state, own = safetensors.torch.load_file(WEIGHTS), None
    else:
        data = read_bytes(weights, name)
        state, own = _state_dict(name, weights, data), published(data, official)
    module = known.build(name)
    with _fitting(name, weights):
        state = under_names_of(module, state)
    last = classifier_bias(module)
    classes = len(state[last]) if last in state and state[last].dim() == 1 else None
    if classes not in (None, len(module.state_dict()[last])):
        module = known.build(name, classes)  # fine-tuned for other classes
    with _fitting(name, weights):
        has_classifier = fit(module, state)
    if name == known.DEMO and classes in (None, len(CLASS_NAMES)):
        categories: tuple[str, ...] | None = CLASS_NAMES
    elif own is not None:
        categories = tuple(official[own].meta["categories"])
    else:
        categories = categories_of(module, name)
    prepared = known.preprocessing(name, own)
    return _Trained(module, prepared, categories, has_classifier=has_classifier)


def _old(name: str, weights: str) -> _Trained:
    """One of the nets of which several variants were published."""
    data = read_bytes(weights, name)
    read = _reader(weights, data)
    with _fitting(name, weights):
        stored = (
            _stored(read, data, name) if read else from_state_dict(state_dict(data, weights), name)
        )
        module = stored.module(name)
    categories = categories_of(module, "alexnet")  # all were trained for the same classes
    return _Trained(module, stored.preprocessing, categories, stored.variant, stored.colour_order)


def _stored(read: Reader, data: bytes, name: str) -> StoredWeights:
    """What a reader makes of a file.

    Raises:
        RequestError: its library is not installed.
        ValueError: the file is damaged, or of another net.
    """
    try:
        return read(data, name)
    except (RequestError, ValueError):
        raise
    except Exception as error:  # the formats' libraries fail in many ways
        raise ValueError(f"it cannot be read ({brief(error)})") from error


def _custom(name: str, weights: str, seed: int | None) -> _Trained:
    """A net of one's own, or an untrained one of timm's."""
    with _usable():
        made = known.make_custom(name, seed or 0)
    trained = _Trained(made.module, made.preprocessing, made.categories)
    if weights == OWN or seed is not None:
        return trained
    state = _state_dict(name, weights, read_bytes(weights, name))
    with _fitting(name, weights):
        has_classifier = fit(made.module, under_names_of(made.module, state))
    return replace(trained, has_classifier=has_classifier)


def _timms(name: str, weights: str) -> _Trained:
    """A net of timm's, with weights that it fetches, or from a file."""
    with _usable():
        made = known.make_custom(name)
        if weights.startswith(of_timm.HUB) or weights in of_timm.tags(name):
            made = timms(name, weights)
            return _Trained(made.module, made.preprocessing)
    state = _state_dict(name, weights, read_bytes(weights, name))
    with _fitting(name, weights):
        found = under_names_of(made.module, state)
        last = found.get(f"{of_timm.classifier(made.module)}.weight")
        module = known.build(name, None if last is None else len(last))
        return _Trained(module, made.preprocessing, has_classifier=fit(module, found))


@contextmanager
def _usable() -> Iterator[None]:
    """A ValueError in here says why a net cannot be used."""
    try:
        yield
    except ValueError as error:
        raise RequestError(f"Net {error}.") from error


@contextmanager
def _fitting(name: str, weights: str) -> Iterator[None]:
    """A ValueError in here says why these weights are not of this net."""
    try:
        yield
    except ValueError as error:
        said = " ".join(str(error).split())
        raise RequestError(f"Weights {weights} do not fit {name}: {said}.") from error


def _reader(weights: str, data: bytes) -> Reader | None:
    """What reads a file that is no state dict."""
    if is_safetensors(data) or data.startswith(_ZIP):
        return None
    for beginning, read in _BEGINNINGS.items():
        if data.startswith(beginning):
            return read
    return _ENDINGS.get(PurePosixPath(weights.partition("?")[0]).suffix.lower())


def _state_dict(name: str, weights: str, data: bytes) -> dict[str, Tensor]:
    if _reader(weights, data):
        raise RequestError(
            f"Weights {weights}: ONNX and Keras files are read for {', '.join(known.VARIANTS)} "
            f"only, for {name} a torch state dict."
        )
    return state_dict(data, weights)


def _assembled(name: str, trained: _Trained, mean: tuple[float, float, float] | None) -> Net:
    prepared = trained.preprocessing
    try:
        prepared = prepared if mean is None else subtracting(prepared, mean)
        net = known.assemble(name, trained.module, prepared, trained.categories, trained.variant)
        verify(trained.module, net.graph, prepared.input_size, prepared.channels)
    except (ValueError, RuntimeError, TypeError) as error:  # the last two from the net's own code
        raise RequestError(f"Net {name} cannot be used: {brief(error)}.") from error
    if not net.graph.layers:
        raise RequestError(f"Net {name} has no convolution, so there is nothing to mine.")
    if not trained.has_classifier:
        return replace(net, classes=0, categories=None, module=None)
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
