"""timm's nets, prepared for as timm does; timm is an extra, and imported for them alone."""

import difflib
import importlib
import math
from typing import Any

from pipeline.core.nets.custom import CustomNet
from pipeline.core.nets.preprocessing import Preprocessing

PREFIX = "timm:"
HUB = "hf_hub:"
"""Before the name of a repository of the hub that holds weights in timm's way."""


def is_timms(name: str) -> bool:
    """Whether a net's name is one of timm's."""
    return name.startswith(PREFIX)


def make(name: str, classes: int | None = None, published: str | None = None) -> CustomNet:
    """A net of timm's.

    Args:
        name: ``timm:ARCHITECTURE``, or ``timm:ARCHITECTURE.TAG``, whose preprocessing is the tag's.
        classes: how many it tells apart; its own number if not given.
        published: weights that timm fetches: a tag or ``hf_hub:REPOSITORY``; else it is untrained.

    Raises:
        ValueError: timm is not installed, or it has no such net.
        Exception: what timm, the hub or the network raise where the weights cannot be fetched.
    """
    timm, architecture = _library(name), _architecture(name)
    options = {} if classes is None else {"num_classes": classes}
    if published is None:
        module = timm.create_model(name.removeprefix(PREFIX), pretrained=False, **options)
    elif published.startswith(HUB):
        module = timm.create_model(published, pretrained=True)
        if (own := module.pretrained_cfg.get("architecture")) != architecture:
            raise ValueError(f"{published} is of timm's {own}, not of {name}")
    else:
        module = timm.create_model(f"{architecture}.{published}", pretrained=True)
    return CustomNet(module.float(), _preprocessing(name, module), None)


def tags(name: str) -> list[str]:
    """The weights that timm publishes for a net; the default, or that of its name, first.

    Raises:
        ValueError: timm is not installed, or it has no such net.
    """
    timm, architecture = _library(name), _architecture(name)
    published = timm.list_pretrained(f"{architecture}.*")
    found = [full.partition(".")[2] for full in published]
    first = timm.get_pretrained_cfg(name.removeprefix(PREFIX))
    return sorted(found, key=lambda tag: tag != getattr(first, "tag", None))


def repository(name: str, weights: str) -> str | None:
    """Where on the hub a net's published weights are; None if they are elsewhere.

    Raises:
        ValueError: timm is not installed, or it has no such net.
    """
    if weights.startswith(HUB):
        return weights.removeprefix(HUB)
    found = _library(name).get_pretrained_cfg(f"{_architecture(name)}.{weights}")
    return getattr(found, "hf_hub_id", None)


def classifier(net: Any) -> str:
    """The path of a net's classifier; empty if it has none."""
    path = net.pretrained_cfg.get("classifier")
    return path if isinstance(path, str) else ""


def _library(name: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ValueError(f"{name} needs timm: pip install '.[timm]'") from error


def _architecture(name: str) -> str:
    architecture = name.removeprefix(PREFIX).partition(".")[0]
    known = _library(name).list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=1)
        hint = f", did you mean {PREFIX}{close[0]}" if close else ""
        raise ValueError(f"{name} is not one of timm's{hint}")
    return architecture


def _preprocessing(name: str, module: Any) -> Preprocessing:
    """What `timm.data.create_transform` does without training.

    Raises:
        ValueError: it is not resized, and cropped in the centre, as pictures are here.
    """
    found = importlib.import_module("timm.data").resolve_data_config({}, model=module)
    (_, height, width), mode = found["input_size"], found["crop_mode"]
    scaled = math.floor(height / found["crop_pct"]), math.floor(width / found["crop_pct"])
    if found["interpolation"] not in ("bilinear", "bicubic"):
        raise ValueError(f"{name} is prepared by {found['interpolation']} interpolation")
    if mode not in ("center", "squash") or (mode == "center" and height != width):
        raise ValueError(f"{name} is cropped in a way that is not known here ({mode})")
    return Preprocessing(
        scaled if mode == "squash" else scaled[0],
        height if height == width else (height, width),
        tuple(found["mean"]),
        tuple(found["std"]),
        found["interpolation"],
    )
