"""The demo's net: AlexNet's shape, traceable; its bundled weights know unseen pictures."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import fx, nn

from jobs.train import TRAIN_FROM, Examples, accuracy, examples, normalised
from pipeline.core.nets.demo import CLASSES, CROP, DemoNet
from pipeline.data.demo.images import CLASS_NAMES, WEIGHTS, draw


def bundled() -> DemoNet:
    net = DemoNet()
    net.load_state_dict(load_file(WEIGHTS), strict=True)
    return net.eval()


@pytest.fixture(scope="module")
def unseen() -> Examples:
    return examples(range(480))


def test_it_has_alexnets_shape() -> None:
    kinds = [type(module) for module in DemoNet().features]
    conv, relu, pool = nn.Conv2d, nn.ReLU, nn.MaxPool2d
    assert kinds == [conv, relu, pool] * 2 + [conv, relu] * 3 + [pool]
    assert all(m.kernel_size == 3 and m.stride == 2 for m in DemoNet().features if type(m) is pool)


def test_every_shape_is_as_its_comment_says() -> None:
    x = torch.zeros(2, 3, CROP, CROP)
    shapes = []
    for module in DemoNet().features:
        x = module(x)
        shapes.append(tuple(x.shape[1:]))
    convolved = [shapes[i] for i in (0, 3, 6, 8, 10)]
    assert convolved == [(32, 55, 55), (64, 27, 27), (96, 13, 13), (96, 13, 13), (64, 13, 13)]
    assert shapes[-1] == (64, 6, 6)
    assert DemoNet()(torch.zeros(2, 3, CROP, CROP)).shape == (2, CLASSES)


def test_it_can_be_traced() -> None:
    net = DemoNet().eval()
    images = torch.randn(2, 3, CROP, CROP)
    assert torch.equal(fx.symbolic_trace(net)(images), net(images))


def test_it_has_a_logit_for_every_class_of_the_set() -> None:
    assert len(CLASS_NAMES) == CLASSES


def test_the_bundled_weights_know_unseen_pictures(unseen: Examples) -> None:
    with safe_open(WEIGHTS, "pt") as file:
        metadata = file.metadata()
    assert WEIGHTS.stat().st_size <= 2_000_000
    assert int(metadata["unseen_images"]) <= TRAIN_FROM  # tested on other pictures than trained on
    assert float(metadata["unseen_accuracy"]) >= 0.97
    assert accuracy(bundled(), unseen) >= 0.95


def test_hardly_a_feature_map_of_the_bundled_net_is_dead(unseen: Examples) -> None:
    images = normalised(unseen.images[:320, :, :CROP, :CROP])
    for name, module in bundled().features.named_children():
        images = module(images)
        if isinstance(module, nn.ReLU):
            alive = (images.amax((0, 2, 3)) > 0).float().mean()
            assert alive > 0.95, f"dead maps after features.{name}"


def test_the_bundled_net_looks_at_the_thing() -> None:
    """Greying out the thing costs the class; greying out all the rest does not."""
    net = bundled()
    kept = {"thing": 0, "ground": 0}
    for index in range(96):
        picture = draw(index, size=(CROP, CROP))
        image = torch.from_numpy(np.array(picture.image)).permute(2, 0, 1)[None]
        mask = torch.from_numpy(picture.mask)
        for what, shown in (("thing", mask), ("ground", ~mask)):
            logits = net(normalised(torch.where(shown, image, 128)))
            kept[what] += int(logits.argmax() == picture.label)
    assert kept["thing"] > 0.8 * 96
    assert kept["ground"] < 0.5 * kept["thing"]
