"""Weights that torchvision and timm publish."""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.nets import known, of_timm
from pipeline.core.nets.custom import CustomNet
from pipeline.core.nets.fitting import classifier_bias
from pipeline.data.weights.files import brief
from pipeline.errors import RequestError

_DIGITS = 8  # of a digest in the name of a file of torchvision's


def fetched(name: str, weights: str, member: Any) -> Mapping[str, Tensor]:
    """What torchvision fetches, or fetched before.

    Raises:
        RequestError: it cannot be fetched, or read.
    """
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


def timms(name: str, weights: str) -> CustomNet:
    """What timm fetches from the hub, or fetched before: a net with its weights.

    Args:
        name: of the net.
        weights: a tag of timm's, or ``hf_hub:REPOSITORY``.

    Raises:
        ValueError: they are of another net.
        RequestError: they cannot be fetched, or read.
    """
    try:
        return of_timm.make(name, published=weights)
    except ValueError:
        raise
    except Exception as error:  # of the hub, of the network, or of what was fetched before
        raise RequestError(
            f"timm's weights {weights} of {name} could not be fetched ({brief(error)}); give a "
            "local file, --weights PATH, or --weights random:0."
        ) from error


def published(data: bytes, official: Mapping[str, Any]) -> str | None:
    """Which of torchvision's weights a file is: their digests are in the names of their files."""
    digest_of_file = hashlib.sha256(data).hexdigest()
    for weights, member in official.items():
        beginning = PurePosixPath(member.url).stem.rpartition("-")[2]
        if len(beginning) >= _DIGITS and digest_of_file.startswith(beginning):
            return weights
    return None


def categories_of(module: nn.Module, name: str) -> tuple[str, ...] | None:
    """The default weights' categories, if a file's weights tell as many classes apart."""
    default = next(iter(known.torchvision_weights(name).values()), None)
    categories = default and tuple(default.meta["categories"])
    classes = len(module.state_dict()[classifier_bias(module)])
    return categories if categories and len(categories) == classes else None
