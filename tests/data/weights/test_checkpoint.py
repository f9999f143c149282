"""Checkpoints as training scripts write them: the same net, wherever and whatever it is called."""

import argparse
import hashlib
import io
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipeline.core.nets import known
from pipeline.data.findings import OccludeSettings
from pipeline.data.weights.checkpoint import under_names_of
from pipeline.data.weights.load import load_net
from pipeline.data.weights.official import published
from pipeline.errors import RequestError
from pipeline.stages import occlude
from tests.data.weights.old_files import BVLC_ALEXNET, Keras, onnx_model, weights
from tests.data.without_ray import end_to_end

pytestmark = pytest.mark.usefixtures("one_thread")

State = dict[str, Tensor]
NET = "demo"


@pytest.fixture(scope="module")
def state() -> State:
    return dict(known.build(NET, seed=3).state_dict())


def save(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


class NotRefusedError(AssertionError):
    """The weights were read."""


def refusal(name: str, file: str) -> str:
    try:
        load_net(name, file)
    except RequestError as error:
        text = str(error)
    else:
        raise NotRefusedError
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 1500
    return text


def before(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


SCRIPTS: dict[str, Callable[[State], object]] = {
    "plain": lambda s: s,
    "compiled": lambda s: before("_orig_mod.", s),
    "compiled and parallel": lambda s: before("_orig_mod.module.", s),
    "parallel and compiled": lambda s: before("module._orig_mod.", s),
    "lightning": lambda s: {"state_dict": before("model.", s), "epoch": 3, "loops": {"fit": {}}},
    "backbone of an encoder": lambda s: {"model": before("module.encoder.backbone.", s)},
    "torchvision's script": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{}]},
        "args": argparse.Namespace(lr=0.1, output_dir="."),
        "epoch": 3,
    },
    "torch's ImageNet example": lambda s: {
        "epoch": 90,
        "arch": "demo",
        "state_dict": {key.replace("features.", "features.module."): t for key, t in s.items()},
        "best_acc1": np.float64(61.5),
        "optimizer": {"state": {}, "param_groups": []},
    },
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": np.float32(0.5)},
    "its moving average": lambda s: {"state_dict_ema": s, "step": 7},
    "teacher and student": lambda s: {"student": {k: t + 1 for k, t in s.items()}, "teacher": s},
    "net": lambda s: {"net": before("module.", s), "acc": 91.0},
    "a name of one's own": lambda s: {"the_best_one": s, "step": 7},
    "one in the other": lambda s: {"state_dict": {"model": s}},
    "averaged": lambda s: {"n_averaged": torch.tensor(4), **before("module.", s)},
    "half": lambda s: {key: tensor.half() for key, tensor in s.items()},
    "double": lambda s: {key: tensor.double() for key, tensor in s.items()},
    "brain": lambda s: {key: tensor.bfloat16() for key, tensor in s.items()},
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_checkpoint_is_read_like_the_plain_state_dict(
    script: str, state: State, tmp_path: Path
) -> None:
    found = load_net(NET, save(SCRIPTS[script](state), tmp_path / "w.ckpt")).net
    assert found.module is not None
    loss = {"half": 1e-3, "brain": 1e-2}.get(script, 0.0)
    for key, tensor in found.module.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, state[key], rtol=loss, atol=loss / 10)


def test_what_torch_itself_wraps_is_read(state: State, tmp_path: Path) -> None:
    """Names as the wrappers write them, not as this test does."""
    net = known.build(NET, seed=3)
    expected = load_net(NET, save(state, tmp_path / "w.pth")).digest
    for wrapped in (nn.DataParallel(net), torch.compile(net), AveragedModel(net)):
        file = save(wrapped.state_dict(), tmp_path / "wrapped.pth")  # type: ignore[union-attr]
        assert load_net(NET, file).digest == expected
    net.features = nn.DataParallel(net.features)  # type: ignore[assignment, arg-type]
    assert load_net(NET, save(net.state_dict(), tmp_path / "w.pth")).digest == expected


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from(["module", "model", "backbone", "encoder", "_orig_mod", "a b"]), max_size=5
    )
)
def test_any_names_before_all_are_left_out(parts: list[str]) -> None:
    with torch.device("meta"):
        net = known.build(NET)
    own = net.state_dict()
    found = under_names_of(net, before("".join(f"{part}." for part in parts), dict(own)))
    assert found.keys() == own.keys()


def test_two_tensors_of_one_name_are_refused(state: State, tmp_path: Path) -> None:
    twice = state | {"module.features.0.weight": state["features.0.weight"] + 1}
    text = refusal(NET, save(twice, tmp_path / "w.pth"))
    assert "module.features.0.weight and another of its tensors are both the net's" in text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"optimizer": {}, "epoch": 3, "lr": 0.1, "seed": 0}, "keys are optimizer, epoch, lr and"),
        ({"a": torch.zeros(2), "epoch": 3}, "beside tensors there are epoch"),
        ({}, "nothing is in it"),
        ([1, 2], "but a list"),
        ({"body.a": torch.zeros(2), "head.b": torch.zeros(1)}, "its names are body.a, head.b"),
        ({"features.0.weight": torch.zeros(32, 3, 7, 7).int()}, "is of torch.int32"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "a is of torch.complex64"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "a is of torch.sparse_coo"),
        ({"a": torch.zeros(2, device="meta")}, "a is on no device"),
    ],
)
def test_what_was_found_is_named(content: object, text: str, tmp_path: Path) -> None:
    assert text in refusal(NET, save(content, tmp_path / "w.pth"))


def test_a_checkpoint_in_itself_ends(tmp_path: Path) -> None:
    loop: dict[str, object] = {}
    loop["state_dict"] = loop
    assert "its keys are state_dict" in refusal(NET, save(loop, tmp_path / "w.pth"))


def test_whole_nets_are_refused_with_the_remedy(tmp_path: Path) -> None:
    net = known.build(NET)
    text = refusal(NET, save(net, tmp_path / "whole.pth"))
    assert "more than tensors (pipeline.core.nets.demo.DemoNet)" in text
    assert "torch.save(net.state_dict(), 'weights.pth')" in text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch gives it up
        torch.jit.save(torch.jit.script(nn.Conv2d(3, 4, 3)), tmp_path / "script.pt")  # type: ignore[no-untyped-call]
    text = refusal(NET, str(tmp_path / "script.pt"))
    assert "a TorchScript archive" in text
    assert "torch.save(net.state_dict(), 'weights.pth')" in text


# --- torchvision's own ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["densenet121", "densenet161", "densenet169", "densenet201"])
def test_densenets_old_names(name: str) -> None:
    with torch.device("meta"):
        net = known.build(name, 3)
    own = net.state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): tensor
        for key, tensor in own.items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    expected = {key for key in own if not key.endswith("num_batches_tracked")}
    assert under_names_of(net, old).keys() == expected
    assert under_names_of(net, before("module.", old)).keys() == expected


def test_a_densenet_of_old_names_is_read(tmp_path: Path) -> None:
    own = known.build("densenet121", 3, seed=1).state_dict()
    old = {re.sub(r"(\.(?:norm|conv))([12])\.", r"\1.\2.", key): t for key, t in own.items()}
    found = load_net("densenet121", save(old, tmp_path / "w.pth")).net
    assert found.module is not None
    assert all(torch.equal(own[key], t) for key, t in found.module.state_dict().items())


@pytest.mark.parametrize("versioned", [True, False])
def test_mnasnets_are_read(versioned: bool, tmp_path: Path) -> None:
    own = known.build("mnasnet0_5", 3, seed=1).state_dict()
    file = save(own if versioned else dict(own), tmp_path / "w.pth")
    found = load_net("mnasnet0_5", file)
    assert found.digest == load_net("mnasnet0_5", file).digest
    assert found.net.module is not None
    assert all(torch.equal(own[key], t) for key, t in found.net.module.state_dict().items())


def test_torchvisions_files_are_known_by_their_digest() -> None:
    """So that its preprocessing is known too where such a file is given by its path."""
    digest = hashlib.sha256(b"content").hexdigest()
    official = {
        "IMAGENET1K_V1": SimpleNamespace(url="https://x/models/net-00000000.pth"),
        "IMAGENET1K_V2": SimpleNamespace(url=f"https://x/models/net-{digest[:8]}.pth"),
        "UNNAMED": SimpleNamespace(url="https://x/models/net.pth"),
    }
    assert published(b"content", official) == "IMAGENET1K_V2"
    assert published(b"another", official) is None


def test_a_googlenet_trained_anew_takes_imagenets_mean(tmp_path: Path) -> None:
    net = known.build("googlenet", 10, seed=1).eval()
    found = load_net("googlenet", save(net.state_dict(), tmp_path / "w.pth")).net
    picture = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    mean, std = (
        torch.tensor(three)[:, None, None]
        for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    torch.testing.assert_close(found.preprocessing.normalise(picture), (picture / 255 - mean) / std)


# --- without the classifier -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gone"),
    [("resnet18", "fc."), ("demo", "classifier."), ("mobilenet_v3_small", "classifier.")],
)
def test_the_trunk_needs_no_classifier(name: str, gone: str, tmp_path: Path) -> None:
    own = known.build(name, 5, seed=1).state_dict()
    backbone = {key: tensor for key, tensor in own.items() if not key.startswith(gone)}
    whole = load_net(name, save(own, tmp_path / "whole.pth"))
    found = load_net(name, save(before("backbone.", backbone), tmp_path / "w.pth"))
    assert found.digest == whole.digest
    assert found.net.graph.layers == whole.net.graph.layers
    assert (found.net.classes, found.net.categories, found.net.module) == (0, None, None)


@pytest.mark.parametrize(
    ("name", "gone"),
    [("squeezenet1_1", "classifier."), ("resnet18", "layer4."), ("resnet18", "fc.bias")],
)
def test_anything_else_is_needed(name: str, gone: str, tmp_path: Path) -> None:
    own = known.build(name, seed=1).state_dict()
    part = {key: tensor for key, tensor in own.items() if not key.startswith(gone)}
    first = next(key for key in own if key not in part)
    assert f"{first} is missing" in refusal(name, save(part, tmp_path / "w.pth"))


# --- which format it is -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["0a1b2c", "W.SAFETENSORS", "w.pth", "w.onnx", "w.h5"])
def test_safetensors_are_told_by_their_first_bytes(name: str, state: State, tmp_path: Path) -> None:
    safetensors.torch.save_file(state, tmp_path / name, metadata={"format": "pt"})
    expected = load_net(NET, save(state, tmp_path / "torch.safetensors"))
    assert load_net(NET, str(tmp_path / name)).digest == expected.digest


def test_so_is_onnx(tmp_path: Path) -> None:
    data = onnx_model(BVLC_ALEXNET, weights(BVLC_ALEXNET)).SerializeToString()
    digests = set()
    for name in ("w.onnx", "W.ONNX", "blob"):
        (tmp_path / name).write_bytes(data)
        digests.add(load_net("alexnet-2012", str(tmp_path / name)).digest)
    assert len(digests) == 1


@pytest.mark.parametrize("inside", [True, False])
def test_onnx_with_its_weights_beside_it(
    inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx_model(BVLC_ALEXNET, weights(BVLC_ALEXNET))
    file = tmp_path / "net.onnx"
    onnx.save_model(
        model, file, save_as_external_data=True, location="net.onnx.data", size_threshold=0
    )
    if inside:  # the folder
        monkeypatch.chdir(tmp_path)
    text = refusal("alexnet-2012", str(file))
    assert "its weights are in net.onnx.data beside it; save them inside" in text
    onnx.save_model(onnx.load(file), tmp_path / "whole.onnx")  # as it says
    assert load_net("alexnet-2012", str(tmp_path / "whole.onnx")).net.classes == 6


# --- damaged files ----------------------------------------------------------------------------


def _files() -> dict[str, tuple[str, bytes]]:
    """Small files of every format: the net they are for, and their content."""
    torch.manual_seed(0)
    small = {"features.0.weight": torch.randn(32, 3, 5, 5), "features.0.bias": torch.randn(32)}
    new, old = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": small, "epoch": 3}, new)
    torch.save(small, old, _use_new_zipfile_serialization=False)
    zoo = onnx_model(BVLC_ALEXNET, weights(BVLC_ALEXNET)).SerializeToString()
    return {
        "zip": (NET, new.getvalue()),
        "pickle": (NET, old.getvalue()),
        "safetensors": (NET, safetensors.torch.save(small)),
        "onnx": ("alexnet-2012", zoo),
        "keras": ("alexnet-2012", Keras.drawn().file()),
    }


FILES = _files()


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_is_a_sentence(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut short, or with bytes changed where the structure is: read all the same, or refused."""
    name, whole = FILES[kind]
    damaged = bytearray(whole)
    ends = st.one_of(  # where formats have their tables
        st.integers(0, min(2000, len(whole) - 1)),
        st.integers(max(0, len(whole) - 2000), len(whole) - 1),
    )
    for at in data.draw(st.lists(ends, max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    file = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    file.write_bytes(damaged[:cut])
    with suppress(NotRefusedError):
        refusal(name, str(file))


def test_a_net_without_its_classifier_is_mined_and_projected(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = {key: t for key, t in state.items() if not key.startswith("classifier.")}
    file = save({"model": backbone}, tmp_path / "w.pth")
    request: dict[str, object] = {"net": NET, "weights": file, "layers": ("conv1", "conv5")}
    run = end_to_end(request, tmp_path, monkeypatch)
    assert (run.spec.classes, run.net.classes) == (0, 0)  # opened again, the same net
    row = run.winners("conv5").iloc[0]
    assert len(run.projections("conv5", int(row["feature_map"])))
    with pytest.raises(RequestError, match="demo tells no classes apart"):
        occlude.check(run.net, OccludeSettings())
