"""Files of weights, here or behind any fsspec URL."""

import importlib
from pathlib import Path
from typing import Any

import torch

from pipeline.core.nets import known, of_timm
from pipeline.data.store import Store
from pipeline.errors import AtlasError, RequestError


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
            f"{kind} are read by {module}, which is not installed: pip install '.[formats]'."
        ) from error


def is_at_hand(weights: str | None, name: str) -> bool:
    """Whether weights are on this machine, so that nothing has to be fetched.

    Args:
        weights: as a user gave them.
        name: of a net.
    """
    if of_timm.is_timms(name):
        return _is_timms_at_hand(weights, name)
    official = known.torchvision_weights(name)
    member = official.get(weights or next(iter(official), ""))
    if member is not None:
        return Path(torch.hub.get_dir(), "checkpoints", Path(member.url).name).exists()
    return "://" not in (weights or "")


def _is_timms_at_hand(weights: str | None, name: str) -> bool:
    try:
        tags = of_timm.tags(name)
        chosen = weights or next(iter(tags), "")
        if not chosen.startswith(of_timm.HUB) and chosen not in tags:
            return "://" not in chosen
        repository = of_timm.repository(name, chosen)
    except ValueError:  # which is said when the net is made
        return True
    hub = importlib.import_module("huggingface_hub")
    names = "model.safetensors", "pytorch_model.bin"
    cached = (hub.try_to_load_from_cache(repository, name) for name in names if repository)
    return any(isinstance(path, str) for path in cached)


def read_bytes(weights: str, name: str) -> bytes:
    """The content of a weights file.

    Args:
        weights: a path or any fsspec URL.
        name: of the net that they are for.

    Raises:
        RequestError: there is no such file.
        StoreError: the store does not answer.
    """
    try:
        return Store(weights).read("")
    except FileNotFoundError as error:
        official = ["bundled"] if name == known.DEMO else known.torchvision_weights(name)
        official_too = f" nor weights of {name} ({', '.join(official)})" if official else ""
        raise RequestError(
            f"Weights {weights!r} are {'neither' if official else 'not'} a file{official_too}; "
            "random:SEED is possible too."
        ) from error
    except AtlasError:
        raise
    except Exception as error:  # every file system has errors of its own
        raise RequestError(f"Weights {weights} cannot be read: {brief(error)}.") from error
