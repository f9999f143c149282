"""Whether tensors are those of a net, and loading them into it."""

from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn

_COUNTER = "num_batches_tracked"


def fit(net: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Load weights into a net, whatever their precision.

    Returns:
        Whether its classifier is among them. A net that was trained without labels has none, and
        that of this net is left as it was.

    Raises:
        ValueError: they do not fit; the text names the first mismatch.
    """
    own = net.state_dict()
    training = _training_only(net)
    needed = [key for key in own if not key.startswith(training)]
    missing = missing_from(net, state)
    has_classifier = not are_of_classifier(net, missing)
    for key in needed:
        if key in state:
            _require_alike(key, state[key], own[key])
        elif key in missing and has_classifier:
            found = "" if own.keys() & state.keys() else f"; its names are {listed(state)}"
            raise ValueError(f"{key} is missing{found}")
    strange = [key for key in state if key not in own and not key.startswith(training)]
    if strange:
        raise ValueError(f"the net has no {listed(strange[:1])}")
    # its own dictionary, which has the versions that some nets' loaders ask for
    own.update((key, state[key]) for key in needed if key in state)
    net.load_state_dict(own)
    return has_classifier


def missing_from(net: nn.Module, keys: Collection[str]) -> list[str]:
    """What a net needs beside these of its tensors; counters are absent from early files."""
    training = _training_only(net)
    return [
        key
        for key in net.state_dict()
        if key not in keys and not key.startswith(training) and not key.endswith(_COUNTER)
    ]


def are_of_classifier(net: nn.Module, missing: Collection[str]) -> bool:
    """Whether what is missing is the last of the fully connected layers behind all convolutions.

    With it, others of them may be missing, but nothing else.
    """
    linear: dict[str, nn.Linear] = {}
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            linear = {}
        elif isinstance(module, nn.Linear):
            linear[path] = module
    keys = [f"{path}.{part}" for path, module in linear.items() for part in module.state_dict()]
    last = [key for key in keys if key.rpartition(".")[0] == next(reversed(linear))]
    return bool(last) and set(last) <= set(missing) <= set(keys)


def classifier_bias(net: nn.Module) -> str:
    """The key of the last bias of a net: its length is the number of classes."""
    return [key for key in net.state_dict() if key.endswith("bias")][-1]


def listed(names: Iterable[object]) -> str:
    """The first few of many names in a weights file, and how many more there are."""
    texts = [" ".join(str(name)[:60].split()) for name in names]
    rest = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return ", ".join(texts[:3]) + rest


def _training_only(net: nn.Module) -> tuple[str, ...]:
    """How the names of auxiliary classifiers begin: files come with and without them."""
    return ("aux", "AuxLogits") if hasattr(net, "aux_logits") else ()


def _require_alike(key: str, tensor: Tensor, own: Tensor) -> None:
    if tensor.shape != own.shape:
        raise ValueError(f"{key} is {_shape(tensor)}, the net's own is {_shape(own)}")
    if tensor.is_floating_point() != own.is_floating_point():
        raise ValueError(f"{key} is of {tensor.dtype}, the net's own of {own.dtype}")


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
