"""Nets of one's own, named as ``module:function``."""

import importlib
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

from pipeline.core.nets.preprocessing import Preprocessing


@dataclass(frozen=True)
class CustomNet:
    """What a function of one's own returned.

    Attributes:
        module: the net.
        preprocessing: how it wants its pictures.
        categories: the names of its classes: the module's attribute `categories`, if it has one.
    """

    module: nn.Module
    preprocessing: Preprocessing
    categories: tuple[str, ...] | None


def is_custom(name: str) -> bool:
    """Whether a net's name is that of a function."""
    return ":" in name


def make(name: str) -> CustomNet:
    """Call the function.

    It returns a net and its preprocessing, or a net with an attribute `preprocessing`: a
    `Preprocessing` or one of torchvision's presets (a weights' ``transforms()``). The net may
    have the attributes `categories`, and `short_names`: the path of a convolution's module → the
    name of its layer.

    Args:
        name: ``package.module:function``.

    Raises:
        ValueError: there is no such function, it fails, or it returns something else.
    """
    path, _, attribute = name.partition(":")
    made = _call(name, _function(path, attribute))
    whole, preprocessing = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(whole, nn.Module):
        raise ValueError(f"{name} returned {type(whole).__name__}, not a torch.nn.Module")
    module = _unwrapped(whole).cpu().float()  # as workers build it, and as pictures come
    if preprocessing is None:
        preprocessing = _attribute("preprocessing", whole, module)
    if preprocessing is None:
        raise ValueError(
            f"{name} returned no preprocessing: return (net, Preprocessing), "
            "or give the net an attribute preprocessing"
        )
    if not isinstance(preprocessing, Preprocessing):
        try:
            preprocessing = from_preset(preprocessing)
        except ValueError as error:
            raise ValueError(f"{name} cannot be used: {error}") from error
    categories = _attribute("categories", whole, module)
    return CustomNet(module, preprocessing, tuple(map(str, categories)) if categories else None)


def _unwrapped(module: nn.Module) -> nn.Module:
    """A net without what it was trained in: DataParallel and torch.compile, also within it."""
    while (inner := _inner(module)) is not None:
        module = inner
    for name, child in module.named_children():
        bare = _unwrapped(child)
        if bare is not child:
            setattr(module, name, bare)
    return module


def _inner(module: nn.Module) -> nn.Module | None:
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
        wrapped: nn.Module = module.module
        return wrapped
    return module._modules.get("_orig_mod")  # torch.compile's, whose class is not torch's public


def _attribute(name: str, *modules: nn.Module) -> Any:
    """An attribute of the first of some modules that has it."""
    return next((getattr(module, name) for module in modules if hasattr(module, name)), None)


def _function(path: str, attribute: str) -> Any:
    try:
        found = importlib.import_module(path)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # an import runs the module's own code, which may raise anything
        raise ValueError(f"{path}:{attribute} cannot be imported ({_brief(error)})") from error
    if not callable(found):
        raise ValueError(f"{path}:{attribute} is {type(found).__name__}, not a function")
    return found


def _call(name: str, function: Any) -> Any:
    try:
        return function()
    except Exception as error:  # likewise
        raise ValueError(f"{name} failed ({_brief(error)})") from error


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def from_preset(preset: Any) -> Preprocessing:
    """One of torchvision's presets for classification, as a `Preprocessing`.

    Raises:
        ValueError: it is something else.
    """
    try:
        resize, crop = _sides(preset.resize_size), _sides(preset.crop_size)
        mean, std = tuple(map(float, preset.mean)), tuple(map(float, preset.std))
        interpolation = preset.interpolation.value
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"its preprocessing is {type(preset).__name__}, neither a Preprocessing nor one of "
            "torchvision's presets for classification"
        ) from error
    if interpolation not in ("bilinear", "bicubic"):
        raise ValueError(f"its preprocessing is {interpolation}, not bilinear or bicubic")
    return Preprocessing(resize, crop, mean, std, interpolation)


def _sides(size: Any) -> int | tuple[int, int]:
    """A size as presets have it: 224, [224], [height, width], or a pair within a list."""
    if isinstance(size, list | tuple) and len(size) == 1:
        return _sides(size[0])
    if isinstance(size, list | tuple):
        height, width = size
        return int(height), int(width)
    return int(size)
