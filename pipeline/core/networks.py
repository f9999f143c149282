"""The nets that are known by name: how each is built, prepared for, and what its layers are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchvision.models
from torch import Tensor, nn

from pipeline.core import demo_net
from pipeline.core.graph import Graph, trace
from pipeline.core.preprocessing import Preprocessing

DEMO = "demo"
"""The small net that is bundled with its weights."""

# Transformers and shuffled channels are no convolutions, pools and pointwise operations.
_FAMILIES = (
    "alexnet",
    "densenet",
    "efficientnet",
    "googlenet",
    "inception",
    "mnasnet",
    "mobilenet",
    "regnet",
    "resnet",
    "resnext",
    "squeezenet",
    "vgg",
    "wide_resnet",
)

_CONV1_TO_5 = {f"features.{path}": f"conv{n}" for n, path in enumerate((0, 3, 6, 8, 10), 1)}
_SHORT_NAMES: dict[str, Mapping[str, str]] = {"alexnet": _CONV1_TO_5, DEMO: _CONV1_TO_5}


@dataclass(frozen=True)
class Net:
    """A net ready to be mined.

    Attributes:
        name: as the user gave it.
        graph: its trunk, steps and layers, in inference mode.
        preprocessing: how it wants its pictures.
        classes: how many classes it tells apart.
        categories: their names, where the weights have them.
        module: the whole net with its classifier; None where only the trunk was sent to a worker.
            It shares its parameters with the trunk.
    """

    name: str
    graph: Graph
    preprocessing: Preprocessing
    classes: int
    categories: tuple[str, ...] | None = None
    module: nn.Module | None = None


def known() -> list[str]:
    """The names of all nets."""
    names = torchvision.models.list_models(module=torchvision.models)
    return [DEMO, *(name for name in names if name.startswith(_FAMILIES))]


def torchvision_weights(name: str) -> dict[str, Any]:
    """The weights that torchvision has for a net, by name, the first one being the default."""
    return {} if name == DEMO else dict(torchvision.models.get_model_weights(name).__members__)


def preprocessing(name: str, weights: str | None = None) -> Preprocessing:
    """How a net trained as these torchvision weights (or the default ones) wants its pictures."""
    if name == DEMO:
        return Preprocessing(demo_net.RESIZE, demo_net.CROP, demo_net.MEAN, demo_net.STD)
    members = torchvision_weights(name)
    preset = members[weights or next(iter(members))].transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    if name in ("googlenet", "inception_v3"):
        # their `transform_input` turns torchvision's normalisation into this one
        mean = std = (0.5, 0.5, 0.5)
    return Preprocessing(
        preset.resize_size[0], preset.crop_size[0], mean, std, preset.interpolation.value
    )


def build(name: str, classes: int | None = None, seed: int = 0) -> nn.Module:
    """The untrained net, its weights drawn from the seed.

    Args:
        name: one of `known`.
        classes: how many classes it tells apart; the net's own number if not given.
        seed: of torch's generator, whose state is left as it was.
    """
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": True, "transform_input": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == DEMO:
            return demo_net.DemoNet(classes or demo_net.CLASSES)
        net: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        return net


def fit(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load weights into a net.

    Raises:
        ValueError: they do not fit; the text names the first mismatch.
    """
    own = net.state_dict()
    # auxiliary classifiers serve training only: files come with and without them
    needed = [key for key in own if not key.startswith(("aux", "AuxLogits"))]
    for key in needed:
        if key not in state:
            if key.endswith("num_batches_tracked"):  # absent from files of early versions
                continue
            raise ValueError(f"{key} is missing")
        if state[key].shape != own[key].shape:
            raise ValueError(f"{key} is {_shape(state[key])}, the net's own is {_shape(own[key])}")
    strange = [key for key in state if key not in own and not key.startswith(("aux", "AuxLogits"))]
    if strange:
        raise ValueError(f"the net has no {strange[0]}")
    net.load_state_dict({key: state[key] for key in needed if key in state}, strict=False)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def classifier_bias(net: nn.Module) -> str:
    """The key of the last bias of a net: its length is the number of classes."""
    return [key for key in net.state_dict() if key.endswith("bias")][-1]


def assemble(
    name: str,
    net: nn.Module,
    preprocessing: Preprocessing,
    categories: tuple[str, ...] | None = None,
) -> Net:
    """A net ready to be mined, from its module.

    Raises:
        ValueError: the net cannot be traced.
    """
    short = _SHORT_NAMES.get(name, {})
    graph = trace(net, preprocessing.input_size, lambda path: short.get(path, path))
    classes = len(net.state_dict()[classifier_bias(net)])
    return Net(name, graph, preprocessing, classes, categories, net)
