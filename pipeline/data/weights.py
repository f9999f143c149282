"""Nets with their weights: torchvision's, from a file or URL, bundled, or random."""

import difflib
import hashlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import fsspec
import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.core import networks
from pipeline.core.networks import Net
from pipeline.data.demo import CLASS_NAMES
from pipeline.errors import RequestError

BUNDLED = "bundled"
_RANDOM = "random:"


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


def load_net(name: str, weights: str | None = None) -> Weighted:
    """A net by name, with the weights asked for.

    Args:
        name: one of `networks.known`.
        weights: the name of torchvision's weights, a ``.pth`` or ``.safetensors`` path or URL,
            ``random:SEED``, or None for the net's default.

    Raises:
        RequestError: an unknown net, or weights that are not there or do not fit.
    """
    if name not in networks.known():
        raise RequestError(_unknown_net(name))
    official = networks.torchvision_weights(name)
    weights = weights or (BUNDLED if name == networks.DEMO else next(iter(official)))
    categories = tuple(CLASS_NAMES) if name == networks.DEMO else None
    if weights.startswith(_RANDOM):
        module, categories = _random(name, weights), None
    elif weights in official:
        module = _torchvision(name, weights)
        categories = tuple(official[weights].meta["categories"])
    elif weights == BUNDLED and name == networks.DEMO:
        module = networks.build(name)
        networks.fit(module, _bundled())
    else:
        module = _from_file(name, weights)
        categories = categories or _categories_of(module, name)
    prepared = networks.preprocessing(name, weights if weights in official else None)
    net = networks.assemble(name, module, prepared, categories)
    return Weighted(net, weights, digest(net.graph.trunk.state_dict()))


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of some tensors, by name, in hex."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _unknown_net(name: str) -> str:
    known = networks.known()
    close = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {close[0]}" if close else ""
    return f"There is no net {name!r}{hint}; known are {', '.join(known)}."


def _brief(error: Exception) -> str:
    """The first sentence of what another library said, which may be pages long."""
    first = (str(error).splitlines() or [""])[0].split(". ")[0].rstrip(". ")
    return first or type(error).__name__


def _random(name: str, weights: str) -> nn.Module:
    seed = weights.removeprefix(_RANDOM)
    if not (seed.isdecimal() and int(seed) < 2**63):
        raise RequestError(
            f"Weights {weights!r}: the seed must be a number below 2^63, as in random:0."
        )
    return networks.build(name, seed=int(seed))


def _torchvision(name: str, weights: str) -> nn.Module:
    member = networks.torchvision_weights(name)[weights]
    kept = Path(torch.hub.get_dir(), "checkpoints", Path(member.url).name)
    try:
        state = member.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # of the network, of the disk, or of what was fetched before
        if kept.exists():
            raise RequestError(
                f"torchvision's weights {weights} of {name}, kept as {kept}, cannot be read "
                f"({_brief(error)}); remove that file, and it is fetched anew."
            ) from error
        raise RequestError(
            f"torchvision's weights {weights} of {name} could not be fetched from {member.url} "
            f"({_brief(error)}); give a local file, --weights PATH, or --weights random:0."
        ) from error
    return _fitted(name, state, weights)


def _from_file(name: str, weights: str) -> nn.Module:
    try:
        with fsspec.open(weights, "rb") as stream:
            data = stream.read()
    except FileNotFoundError as error:
        official = ", ".join(networks.torchvision_weights(name)) or "bundled"
        raise RequestError(
            f"Weights {weights!r} are neither a file nor weights of {name} ({official}); "
            "random:SEED is possible too."
        ) from error
    except Exception as error:  # every file system has errors of its own
        raise RequestError(f"Weights {weights} cannot be read: {_brief(error)}.") from error
    return _fitted(name, _parse(weights, data), weights)


def _parse(weights: str, data: bytes) -> dict[str, Tensor]:
    state: object
    try:
        if weights.endswith(".safetensors"):
            state = safetensors.torch.load(data)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pickles that others wrote
                state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # both formats' readers fail in many ways
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise RequestError(
                f"Weights {weights} hold more than tensors, which is not read for safety; "
                "save the net's state_dict() alone."
            ) from error
        raise RequestError(
            f"Weights {weights} are neither a torch state dict nor safetensors ({_brief(error)})."
        ) from error
    if isinstance(state, Mapping):
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise RequestError(f"Weights {weights} are no state dict; save net.state_dict().")
    # what torch.nn.DataParallel puts before every name
    return {key.removeprefix("module."): value for key, value in state.items()}


def _fitted(name: str, state: Mapping[str, Tensor], weights: str) -> nn.Module:
    module = networks.build(name)
    last = networks.classifier_bias(module)
    classes = len(state[last]) if last in state and state[last].dim() == 1 else None
    if classes not in (None, len(module.state_dict()[last])):
        module = networks.build(name, classes)  # fine-tuned for other classes
    try:
        networks.fit(module, state)
    except ValueError as error:
        raise RequestError(f"Weights {weights} do not fit {name}: {error}.") from error
    return module


def _categories_of(module: nn.Module, name: str) -> tuple[str, ...] | None:
    """The default weights' categories, if a file's weights tell as many classes apart."""
    official = networks.torchvision_weights(name)
    if not official:
        return None
    names = tuple(next(iter(official.values())).meta["categories"])
    classes = len(module.state_dict()[networks.classifier_bias(module)])
    return names if classes == len(names) else None


def _bundled() -> dict[str, Tensor]:
    data = resources.files("pipeline.data").joinpath("demo_net.safetensors").read_bytes()
    return {key: tensor.float() for key, tensor in safetensors.torch.load(data).items()}
