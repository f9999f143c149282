"""Files of weights, here or behind any fsspec URL."""

import importlib
import io
import warnings
from collections.abc import Mapping
from typing import Any

import fsspec
import safetensors.torch
import torch
from torch import Tensor

from pipeline.core.nets import known
from pipeline.errors import RequestError


def brief(error: Exception) -> str:
    """The first sentence of what another library said, which may be pages long."""
    first = (str(error).splitlines() or [""])[0].split(". ")[0].rstrip(". ")
    return first or type(error).__name__


def formats_library(module: str, kind: str) -> Any:
    """A library that is needed for some kind of weights alone.

    Raises:
        RequestError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RequestError(
            f"{kind} are read by {module}, which is not installed: "
            "pip install 'deconv-atlas[formats]'."
        ) from error


def read_bytes(weights: str, name: str) -> bytes:
    """The content of a weights file.

    Args:
        weights: a path or any fsspec URL.
        name: of the net that they are for.

    Raises:
        RequestError: there is no such file.
    """
    try:
        with fsspec.open(weights, "rb") as stream:
            data: bytes = stream.read()
            return data
    except FileNotFoundError as error:
        official = ["bundled"] if name == known.DEMO else known.torchvision_weights(name)
        official_too = f" nor weights of {name} ({', '.join(official)})" if official else ""
        raise RequestError(
            f"Weights {weights!r} are {'neither' if official else 'not'} a file{official_too}; "
            "random:SEED is possible too."
        ) from error
    except Exception as error:  # every file system has errors of its own
        raise RequestError(f"Weights {weights} cannot be read: {brief(error)}.") from error


def read_state(weights: str, name: str) -> dict[str, Tensor]:
    """The tensors of a torch state dict or a safetensors file.

    Raises:
        RequestError: there is no such file, or it is something else.
    """
    data = read_bytes(weights, name)
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
            f"Weights {weights} are neither a torch state dict nor safetensors ({brief(error)})."
        ) from error
    if isinstance(state, Mapping):
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise RequestError(f"Weights {weights} are no state dict; save net.state_dict().")
    # what torch.nn.DataParallel puts before every name
    return {key.removeprefix("module."): value for key, value in state.items()}
