"""Weights of the old nets as files hold them, under the net's own names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pipeline.core.nets import known
from pipeline.core.nets.fitting import fit, listed
from pipeline.core.nets.known import ColourOrder
from pipeline.core.nets.old import Variant
from pipeline.core.nets.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


@dataclass(frozen=True)
class StoredWeights:
    """What a file holds.

    Attributes:
        state: by the net's own names: ``conv1.weight`` … ``fc8.bias``.
        variant: the net they are for.
        preprocessing: how it wants its pictures.
        colour_order: of the channels that the filters of the first layer have.
    """

    state: dict[str, Tensor]
    variant: Variant
    preprocessing: Preprocessing
    colour_order: ColourOrder = "rgb"

    def module(self, name: str) -> nn.Module:
        """The net with these weights.

        Raises:
            ValueError: they do not fit; the text names the first mismatch.
        """
        classes = len(self.state["fc8.bias"]) if "fc8.bias" in self.state else None
        try:
            module = known.build(name, classes, variant=self.variant)
        except ValueError as error:
            widths = ", ".join(map(str, self.variant.maps))
            raise ValueError(f"{widths} feature maps cannot be in two groups") from error
        fit(module, self.state)
        height, width = self.preprocessing.input_size
        with torch.no_grad(), torch.device("meta"):  # shapes alone
            whole = known.build(name, classes, variant=self.variant)
            try:
                whole(torch.empty(1, 3, height, width))
            except RuntimeError as error:
                raise ValueError(
                    f"fc6 does not take what pool5 makes of {height}×{width}"
                ) from error
        return module


def from_state_dict(state: Mapping[str, Tensor], name: str) -> StoredWeights:
    """A torch state dict, whatever its modules are called.

    Convolutions and fully connected layers are told by their shapes, their order by their names.
    Which way pooling and normalisation follow each other is not in such a file: it is the net's
    own. Trained with torch, the net takes what torchvision's take.

    Args:
        state: of the whole net.
        name: of the net.

    Raises:
        ValueError: a layer is missing.
    """
    names = {
        f"{path}{part}": f"{kind}{number}.{part}"
        for kind, first, dimensions in (("conv", 1, 4), ("fc", 6, 2))
        for number, path in enumerate(_paths(state, dimensions), first)
        for part in ("weight", "bias")
    }
    if not names:
        raise ValueError(f"it has no layers; its names are {listed(state)}")
    renamed = {names.get(key, key): tensor.float() for key, tensor in state.items()}
    variant = known.VARIANTS[name].as_wide_as(renamed)
    usual = replace(known.preprocessing(name), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return StoredWeights(renamed, variant, usual)


def _paths(state: Mapping[str, Tensor], dimensions: int) -> list[str]:
    """The modules whose weights have so many dimensions, as far as their names tell in order."""
    paths = [
        key.removesuffix("weight")
        for key, tensor in state.items()
        if key.endswith("weight") and tensor.dim() == dimensions
    ]
    return sorted(paths, key=_in_order)


def _in_order(path: str) -> list[tuple[int, str]]:
    """Sorts ``features.10`` behind ``features.3``."""
    parts = re.findall(r"\d+|\D+", path)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
