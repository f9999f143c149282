"""The nets that are known by name: how each is built, prepared for, and what its layers are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.core.graph.trace import Graph, trace
from pipeline.core.nets import custom, demo, of_timm
from pipeline.core.nets.fitting import classifier_bias
from pipeline.core.nets.old import DESIGNS, OldNet, Variant
from pipeline.core.nets.preprocessing import Preprocessing

DEMO = "demo"
"""The small net that is bundled with its weights."""

ColourOrder = Literal["rgb", "bgr"]

VARIANTS = {name: design.variant for name, design in DESIGNS.items()}
"""The old nets, of which several variants were published, and their own one."""

_OLD_MEAN = (123.68, 116.779, 103.939)

# transformers have no feature maps
_FAMILIES = (
    "alexnet",
    "convnext",
    "densenet",
    "efficientnet",
    "googlenet",
    "inception",
    "mnasnet",
    "mobilenet",
    "regnet",
    "resnet",
    "resnext",
    "shufflenet",
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
        classes: how many classes it tells apart; 0 if its weights have no classifier.
        categories: their names, where the weights have them.
        module: the whole net with its classifier; None where only the trunk was sent to a worker,
            or its weights have no classifier. It shares its parameters with the trunk.
        variant: which of several, for one of `VARIANTS`.
    """

    name: str
    graph: Graph
    preprocessing: Preprocessing
    classes: int
    categories: tuple[str, ...] | None = None
    module: nn.Module | None = None
    variant: Variant | None = None

    @property
    def device(self) -> torch.device:
        """What it runs on."""
        return next(self.graph.trunk.parameters()).device


def names() -> list[str]:
    """The names of all nets; those of one's own are not among them."""
    models = _torchvision().list_models(module=_torchvision())
    return [DEMO, *VARIANTS, *(name for name in models if name.startswith(_FAMILIES))]


def is_known(name: str) -> bool:
    """Whether it is one of `names`."""
    return name == DEMO or name in VARIANTS or name in names()  # torchvision is asked last


def torchvision_weights(name: str) -> dict[str, Any]:
    """The weights that torchvision has for a net, by name, the first one being the default."""
    if name == DEMO or name in VARIANTS or custom.is_custom(name):
        return {}
    # what DEFAULT stands for changes with torchvision's version, so it is left out
    return {weights.name: weights for weights in _torchvision().get_model_weights(name)}


def preprocessing(name: str, weights: str | None = None) -> Preprocessing:
    """How a net wants its pictures.

    Args:
        name: of the net.
        weights: torchvision's that it has; None if it was trained by others, as the first ones of
            torchvision, or not at all.
    """
    if name == DEMO:
        return Preprocessing(demo.RESIZE, demo.CROP, demo.MEAN, demo.STD)
    if name in VARIANTS:
        design = DESIGNS[name]
        return subtracting(Preprocessing(design.resize, design.crop), _OLD_MEAN)
    members = torchvision_weights(name)
    found = custom.from_preset(members[weights or next(iter(members))].transforms())
    if weights is not None and name in ("googlenet", "inception_v3"):
        # these weights came from TensorFlow; with them, and only with them, torchvision sets
        # `transform_input`, which turns its normalisation into this one
        return replace(found, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return found


def subtracting(prepared: Preprocessing, mean: tuple[float, float, float]) -> Preprocessing:
    """The same, but a mean of R, G, B is subtracted from 0–255, and nothing is divided.

    Raises:
        ValueError: the net takes no R, G, B.
    """
    if prepared.mode != "RGB":
        raise ValueError(f"it takes {prepared.mode}, so that a mean of R, G, B has no meaning")
    red, green, blue = mean
    return replace(
        prepared, mean=(red / 255, green / 255, blue / 255), std=(1 / 255, 1 / 255, 1 / 255)
    )


def swap_red_and_blue(net: nn.Module) -> None:
    """Turn the filters of a net's first layer, so that one trained on B, G, R takes R, G, B."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            with torch.no_grad():
                module.weight.copy_(module.weight.flip(1))
            return


def build(
    name: str, classes: int | None = None, seed: int = 0, variant: Variant | None = None
) -> nn.Module:
    """The untrained net, its weights drawn from the seed.

    Args:
        name: one of `names`, or a function of one's own, which gives the net its weights.
        classes: how many classes it tells apart; the net's own number if not given.
        seed: of torch's generator, whose state is left as it was.
        variant: which of several, for one of `VARIANTS`.

    Raises:
        ValueError: there is no such function, or it returns no net.
    """
    if custom.is_custom(name):
        return make_custom(name, seed, classes).module
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": True, "transform_input": False}
    with _seeded(seed):
        if name == DEMO:
            return demo.DemoNet(classes or demo.CLASSES)
        if name in VARIANTS:
            return OldNet(DESIGNS[name], classes or 1000, variant)
        net: nn.Module = _torchvision().get_model(name, weights=None, **options)
        return net


def make_custom(name: str, seed: int = 0, classes: int | None = None) -> custom.CustomNet:
    """A net of one's own or of timm's; whatever it draws at random follows from the seed.

    Args:
        name: of a function, or ``timm:NAME``.
        seed: as for `build`.
        classes: how many one of timm's tells apart.

    Raises:
        ValueError: there is no such function, or it returns no net.
    """
    with _seeded(seed):
        return of_timm.make(name, classes) if of_timm.is_timms(name) else custom.make(name)


def _torchvision() -> Any:
    """Its models, imported for nets of its own alone: it takes longer than torch itself."""
    from torchvision import models

    return models


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def assemble(
    name: str,
    net: nn.Module,
    preprocessing: Preprocessing,
    categories: tuple[str, ...] | None = None,
    variant: Variant | None = None,
) -> Net:
    """A net ready to be mined, from its module.

    Raises:
        ValueError: the net cannot be traced.
    """
    is_custom = custom.is_custom(name)
    short = getattr(net, "short_names", {}) if is_custom else _SHORT_NAMES.get(name, {})
    size, channels = preprocessing.input_size, preprocessing.channels
    graph = trace(net, size, lambda path: short.get(path, path), channels)
    if is_custom:
        classes = _outputs(net, (channels, *size))
    else:
        classes = len(net.state_dict()[classifier_bias(net)])
    return Net(name, graph, preprocessing, classes, categories, net, variant)


def _outputs(net: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """How many numbers a net returns for an image; 0 if what it returns are no logits."""
    with torch.no_grad():
        made = net(torch.zeros(1, *input_shape))
    return made.shape[1] if isinstance(made, Tensor) and made.dim() == 2 else 0
