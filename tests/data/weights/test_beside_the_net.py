"""Checkpoints in which the net is one of several things that were trained together."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.core.nets import known
from pipeline.data.weights.load import load_net
from pipeline.errors import RequestError

pytestmark = pytest.mark.usefixtures("one_thread")

State = dict[str, Tensor]
SOME = torch.ones(3)


def _state(seed: int = 5) -> State:
    return dict(known.build("resnet18", seed=seed).state_dict())


def _trunk(seed: int = 5) -> State:
    return {key: tensor for key, tensor in _state(seed).items() if not key.startswith("fc.")}


def _mlp(seed: int = 5) -> State:
    return {**_trunk(seed), "fc.0.weight": torch.ones(4, 512), "fc.2.weight": torch.ones(2, 4)}


def _under(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def _moco() -> object:
    both = {**_under("module.encoder_q.", _mlp()), **_under("module.encoder_k.", _mlp(6))}
    return {"epoch": 3, "state_dict": {**both, "module.queue": SOME}}


def _moco_v3() -> object:
    first, second = _under("module.base_encoder.", _trunk()), _mlp(6)
    return {"state_dict": {**_under("module.momentum_encoder.", second), **first}}


def _dino() -> object:
    student = {**_under("module.backbone.", _trunk(6)), "module.head.last.weight": SOME}
    teacher = {**_under("backbone.", _trunk()), "head.last.weight": SOME}
    return {"student": student, "teacher": teacher, "epoch": 3}


def _lightning() -> object:
    state = {**_under("model.", _state()), "criterion.weight": SOME, "accuracy.total": SOME}
    return {"state_dict": state, "hyper_parameters": {"lr": 0.1}, "optimizer_states": [{}]}


def _byol() -> object:
    return {**_under("target_encoder.net.", _state(6)), **_under("online_encoder.net.", _state())}


def _swav() -> object:
    return {**_under("module.", _trunk()), "module.prototypes.weight": SOME}


def _detector() -> object:
    return {"model": {**_under("backbone.body.", _trunk()), "roi_heads.box.weight": SOME}}


FILES = {
    _moco: (0, "module.encoder_q.fc.0.weight"),
    _moco_v3: (0, "module.momentum_encoder.conv1.weight"),
    _dino: (0, "head.last.weight"),
    _lightning: (1000, "criterion.weight, accuracy.total"),
    _byol: (1000, "target_encoder.net.conv1.weight"),
    _swav: (0, "module.prototypes.weight"),
    _detector: (0, "roi_heads.box.weight"),
}


@pytest.mark.parametrize("make", FILES)
def test_the_net_is_found_and_the_rest_is_named(
    make: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.pth"
    torch.save(make(), path)  # type: ignore[operator]
    weighted = load_net("resnet18", str(path))
    assert weighted.digest == load_net("resnet18", "random:5").digest
    classes, beside = FILES[make]  # type: ignore[index]
    assert weighted.net.classes == classes
    assert f"hold more than the net: {beside}" in caplog.text


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({**_under("left.", _trunk()), **_under("right.", _trunk())}, "under left., right.; save"),
        ({**_state(), "extra.weight": SOME}, "the net has no extra.weight"),
        ({**_trunk(), "layer1.2.conv1.weight": SOME}, "the net has no layer1.2.conv1.weight"),
    ],
)
def test_what_may_be_another_net_is_refused(state: State, said: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(state, path)
    with pytest.raises(RequestError, match=said):
        load_net("resnet18", str(path))
