"""Weights as others published them: read, and run as the programs they were made for run them."""

import io
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.commands import mine as commands
from pipeline.core.nets import known
from pipeline.core.nets.fitting import fit
from pipeline.core.nets.known import Net
from pipeline.core.nets.old import Normalisation
from pipeline.core.nets.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from pipeline.data.weights.load import Weighted, load_net
from pipeline.errors import RequestError
from pipeline.request import MineRequest
from tests.core.nets.old_nets import picture
from tests.data.weights import theano
from tests.data.weights.old_files import (
    BVLC_ALEXNET,
    CAFFENET,
    ZFNET_512,
    Keras,
    Zoo,
    onnx_model,
    weights,
)
from tests.data.without_ray import end_to_end

pytestmark = pytest.mark.usefixtures("one_thread")

MEANS = np.array([123.68, 116.779, 103.939])  # of R, G, B
ZOO = {"bvlcalexnet": BVLC_ALEXNET, "caffenet": CAFFENET, "zfnet512": ZFNET_512}
NETS = {"bvlcalexnet": "alexnet-2012", "caffenet": "alexnet-2012", "zfnet512": "zfnet"}
OLD = "alexnet-2012"


def put(data: bytes, folder: Path, name: str) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def zoo_file(net: Zoo, folder: Path, seed: int = 0) -> str:
    return put(onnx_model(net, weights(net, seed)).SerializeToString(), folder, "net.onnx")


def outputs(net: Net, image: Tensor) -> list[np.ndarray]:
    """The five layers and the logits of a uint8 image, in R, G, B."""
    assert net.module is not None
    with torch.inference_mode():
        batch = net.preprocessing.normalise(image[None])
        batches = [*net.graph.trunk(batch), net.module(batch)]
    return [output[0].numpy() for output in batches]


def assert_alike(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected) == 6
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4 * np.abs(theirs).max())


def refusal(name: str, file: str | None) -> str:
    with pytest.raises(RequestError) as caught:
        load_net(name, file)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


# --- the model zoo ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "side"),
    [*((name, 224) for name in ZOO), ("bvlcalexnet", 227), ("caffenet", 227)],
)
def test_a_zoo_file_runs_as_in_onnxruntime(published: str, side: int, tmp_path: Path) -> None:
    """At the size of the file's input, and at that of Caffe's own."""
    zoo = ZOO[published]
    file = zoo_file(replace(zoo, side=side), tmp_path)
    net = load_net(NETS[published], file).net
    image = picture(side, 3)

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    bgr = (image.permute(1, 2, 0).numpy() - MEANS)[..., ::-1].transpose(2, 0, 1)[None]
    *expected, _ = session.run(None, {f"{zoo.prefix}data_0": bgr.astype(np.float32)})
    assert_alike(outputs(net, image), [output[0] for output in expected])
    assert net.variant is not None
    assert net.variant.maps == zoo.maps
    assert net.variant.pool_first is zoo.pool_first


def test_the_oracle_would_notice_each_mistake(tmp_path: Path) -> None:
    """Colours, the order of pooling, the normalisation: each one changes the logits."""
    file = zoo_file(BVLC_ALEXNET, tmp_path)
    image = picture(227, 3)
    weighted = load_net(OLD, file)
    right = outputs(weighted.net, image)[-1]
    mistaken = [load_net(OLD, file, colour_order="rgb"), load_net(OLD, file, mean=(0, 0, 0))]
    for change in ({"pool_first": True}, {"normalisation": Normalisation(5, 5e-4)}):
        assert weighted.net.variant is not None
        variant = replace(weighted.net.variant, **change)  # type: ignore[arg-type]
        module = known.build(OLD, 6, variant=variant)
        assert weighted.net.module is not None
        fit(module, weighted.net.module.state_dict())
        mistaken.append(replace(weighted, net=replace(weighted.net, module=module)))
    for mistake in mistaken:
        wrong = outputs(mistake.net, image)[-1]
        assert np.abs(wrong - right).max() > 5e-3 * np.abs(right).max()


def test_pictures_for_a_zoo_file_lose_their_mean(tmp_path: Path) -> None:
    net = load_net(OLD, zoo_file(CAFFENET, tmp_path)).net
    assert net.preprocessing == known.preprocessing(OLD)
    assert net.classes == 6
    assert net.categories is None  # six classes are not ImageNet's


def test_the_thousand_classes_are_imagenets(tmp_path: Path) -> None:
    net = load_net(OLD, zoo_file(replace(CAFFENET, classes=1000), tmp_path)).net
    assert net.categories is not None
    assert (len(net.categories), net.categories[0]) == (1000, "tench")


# --- Keras on Theano --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras() -> Keras:
    return Keras.drawn()


@pytest.mark.parametrize("whole", [False, True])
def test_a_keras_file_runs_as_in_theano(keras: Keras, whole: bool, tmp_path: Path) -> None:
    net = load_net(OLD, put(keras.file(whole), tmp_path, "alexnet_weights.h5")).net
    image = picture(227, 5)
    rgb = image.numpy().astype(float) - MEANS[:, None, None]
    expected = theano.forward(keras, rgb)
    assert_alike(outputs(net, image), expected)

    assert net.module is not None
    with torch.no_grad():  # what a file of kernels for a correlation would be
        for module in net.module.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(module.weight.flip(2, 3))
    for wrong, right in zip(outputs(net, image), expected, strict=True):
        assert np.abs(wrong - right).max() > 0.05 * np.abs(right).max()


def test_the_two_groups_are_one_layer(keras: Keras, tmp_path: Path) -> None:
    net = load_net(OLD, put(keras.file(), tmp_path, "w.h5")).net
    assert net.module is not None
    kernel = net.module.get_submodule("conv4").weight.detach().numpy()
    first, second = keras.layers["conv_4_1"][0], keras.layers["conv_4_2"][0]
    np.testing.assert_array_equal(kernel[:8], first[:, :, ::-1, ::-1])
    np.testing.assert_array_equal(kernel[8:], second[:, :, ::-1, ::-1])
    assert net.variant is not None
    assert net.variant.normalisation == Normalisation(5, 5e-4, 0.75, 2.0)


# --- torch ------------------------------------------------------------------------------------


def pth(state: dict[str, Tensor]) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


SAVERS = {".pth": pth, ".safetensors": safetensors.torch.save}


@pytest.mark.parametrize("suffix", SAVERS)
@pytest.mark.parametrize("name", known.VARIANTS)
@pytest.mark.parametrize("sequential", [False, True])
def test_a_torch_state_dict_comes_back(
    name: str, suffix: str, sequential: bool, tmp_path: Path
) -> None:
    """Whatever its modules are called: here also numbered, as in a Sequential."""
    narrow = replace(known.VARIANTS[name], maps=(8, 12, 10, 16, 6), hidden=(9, 7))
    state = known.build(name, 5, 4, narrow).state_dict()
    places = dict(
        zip(("conv1", "conv2", "conv3", "conv4", "conv5"), (0, 4, 8, 10, 12), strict=True)
    )
    names = {layer: f"module.features.{place}" for layer, place in places.items()} | {
        layer: f"module.classifier.{place}"
        for layer, place in zip(("fc6", "fc7", "fc8"), (1, 4, 6), strict=True)
    }
    stored = {
        f"{names[key.partition('.')[0]]}.{key.partition('.')[2]}" if sequential else key: tensor
        for key, tensor in state.items()
    }
    weighted = load_net(name, put(SAVERS[suffix](stored), tmp_path, f"w{suffix}"))
    assert weighted.net.module is not None
    loaded = weighted.net.module.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())
    prepared = weighted.net.preprocessing
    assert (prepared.mean, prepared.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert prepared.crop == known.preprocessing(name).crop


# --- colours ----------------------------------------------------------------------------------


def kernel(weighted: Weighted) -> Tensor:
    return weighted.net.graph.trunk.get_submodule("conv1").weight.detach()


def test_filters_come_out_in_red_green_blue(tmp_path: Path) -> None:
    file = zoo_file(CAFFENET, tmp_path)
    stored = torch.from_numpy(weights(CAFFENET)["conv1_w_0"])
    usual, turned = load_net(OLD, file), load_net(OLD, file, colour_order="rgb")
    assert torch.equal(kernel(usual), stored.flip(1))
    assert torch.equal(kernel(turned), stored)
    assert usual.digest != turned.digest


@pytest.mark.parametrize("name", ["demo", "squeezenet1_1"])
def test_the_colour_order_can_be_said(name: str) -> None:
    usual, turned = (
        load_net(name, "random:1", order).net.graph.trunk.get_submodule("features.0").weight
        for order in (None, "bgr")
    )
    assert torch.equal(usual.flip(1), turned)  # type: ignore[operator, arg-type]


def test_the_mean_can_be_said() -> None:
    usual = load_net("squeezenet1_1", "random:1").net
    other = load_net("squeezenet1_1", "random:1", mean=(10, 20, 30)).net
    assert usual.preprocessing == known.preprocessing("squeezenet1_1")
    grey = torch.full((1, 3, 1, 1), 100, dtype=torch.uint8)
    normalised = other.preprocessing.normalise(grey).flatten()
    torch.testing.assert_close(normalised, torch.tensor([90.0, 80.0, 70.0]))


def test_a_map_that_sees_red_projects_to_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file in B, G, R, through the run of all stages."""
    arrays = weights(BVLC_ALEXNET)
    arrays["conv1_w_0"][0] = 0
    arrays["conv1_w_0"][0, 2] = 0.1  # the last channel is red
    arrays["conv1_b_0"][0] = 0
    file = put(onnx_model(BVLC_ALEXNET, arrays).SerializeToString(), tmp_path, "bvlc.onnx")
    request = {"net": OLD, "weights": file, "layers": ("conv1", "conv5")}
    run = end_to_end(request, tmp_path, monkeypatch)
    winners = run.winners("conv1", 0)
    assert len(winners) == 2
    for text in run.projections("conv1", 0)["projection_array"]:
        projection = np.frombuffer(text, "<f4").reshape(3, 11, 11)
        assert (projection[0] > 0).all()
        assert not projection[1:].any()
    assert len(run.projections("conv5", int(run.winners("conv5")["feature_map"].iloc[0])))
    assert run.net.variant == load_net(OLD, file).net.variant  # opened again, the same net


def test_a_run_keeps_the_colours_that_were_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = zoo_file(CAFFENET, tmp_path)
    request: dict[str, object] = {"net": OLD, "weights": file, "layers": ("conv1",)}
    said: dict[str, object] = {"colour_order": "rgb", "mean": (10, 20, 30)}
    run = end_to_end(request | said, tmp_path, monkeypatch)
    expected = load_net(OLD, file, "rgb", (10, 20, 30)).net
    assert run.net.preprocessing == run.spec.preprocessing == expected.preprocessing
    stored = torch.from_numpy(weights(CAFFENET)["conv1_w_0"])
    assert torch.equal(run.net.graph.trunk.get_submodule("conv1").weight, stored)  # type: ignore[arg-type]
    again = {"data": run.spec.data, "run": str(tmp_path / "run"), "top_k": 2}
    with pytest.raises(RequestError, match="configuration: its colour order is rgb, not the usual"):
        commands.mine_run(MineRequest.model_validate(again | request))


# --- what does not fit ------------------------------------------------------------------------


@pytest.mark.parametrize("name", known.VARIANTS)
def test_nothing_can_be_fetched(name: str) -> None:
    text = refusal(name, None)
    assert "--weights FILE" in text
    assert "random:0" in text


def test_no_such_file() -> None:
    assert refusal(OLD, "IMAGENET1K_V1").startswith("Weights 'IMAGENET1K_V1' are not a file;")


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("zfnet", BVLC_ALEXNET, "conv1 is a 11×11 convolution of stride 4×4, .* in the net a 7×7"),
        (OLD, ZFNET_512, "conv1 is a 7×7 convolution of stride 2×2, padding 0, in the net a 11×11"),
        (
            OLD,
            replace(BVLC_ALEXNET, convolutions=[(11, 4, 0, 1), (5, 1, 2, 1), *((3, 1, 1, 1),) * 3]),
            "conv2 is .* padding 2, in the net .* padding 2, in 2 groups",
        ),
        (
            "zfnet",
            replace(ZFNET_512, reaching=(False, False, False)),
            "fc6 does not take what pool5 makes of 224×224",
        ),
    ],
)
def test_a_zoo_file_of_another_net(name: str, change: Zoo, text: str, tmp_path: Path) -> None:
    assert re.search(f"do not fit {name}: .*{text}", refusal(name, zoo_file(change, tmp_path)))


Edit = Callable[[dict[str, np.ndarray]], object]


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (
            lambda w: w.update(fc6_w_0=w["fc6_w_0"][:, :-1]),
            "fc6.weight is 10×431, .* own is 10×432",
        ),
        (lambda w: w.update(conv3_b_0=w["conv3_b_0"][:-1]), "conv3.bias is 19, .* own is 20"),
    ],
)
def test_a_zoo_file_with_a_wrong_array(edit: Edit, text: str, tmp_path: Path) -> None:
    arrays = weights(BVLC_ALEXNET)
    edit(arrays)
    model = onnx_model(BVLC_ALEXNET, arrays).SerializeToString()
    assert re.search(text, refusal(OLD, put(model, tmp_path, "w.onnx")))


def test_onnx_files_of_other_kinds(tmp_path: Path) -> None:
    model = onnx_model(BVLC_ALEXNET, weights(BVLC_ALEXNET))
    for node in model.graph.node:
        if node.op_type == "LRN":
            node.op_type = "BatchNormalization"
    file = put(model.SerializeToString(), tmp_path, "w.onnx")
    assert "2 and 3" in refusal(OLD, file)
    assert "it is no ONNX file" in refusal(OLD, put(b"\x07nonsense", tmp_path, "n.onnx"))
    del model.graph.initializer[0]
    file = put(model.SerializeToString(), tmp_path, "m.onnx")
    assert "the weights of its conv1_1 are not in it" in refusal(OLD, file)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda layers: layers.pop("conv_2_1"), "conv_2 is missing"),
        (lambda layers: layers.pop("conv_2_2"), "conv_2_2 is missing"),
        (lambda layers: layers.pop("dense_3"), "dense_3 is missing"),
        (
            lambda layers: layers.update(conv_1=(np.zeros((11, 11, 3, 12)), np.zeros(12))),
            "conv_1 is 11×11×3×12, not (out, in, rows, columns)",
        ),
        (
            lambda layers: layers.update(conv_5_2=(np.zeros((6, 8, 5, 5)), np.zeros(6))),
            "conv_5 is 6×8×3×3 and 6×8×5×5",
        ),
        (
            lambda layers: layers.update(dense_1=(np.zeros((99, 10)), np.zeros(10))),
            "fc6.weight is 10×99, the net's own is 10×432",
        ),
    ],
)
def test_a_keras_file_of_another_net(edit: Edit, text: str, tmp_path: Path) -> None:
    stored = Keras.drawn()
    edit(stored.layers)  # type: ignore[arg-type]
    said = refusal(OLD, put(stored.file(), tmp_path, "w.h5"))
    assert f"do not fit {OLD}: " in said
    assert text in said


def test_no_keras_file(tmp_path: Path) -> None:
    assert "no HDF5 file of Keras' weights" in refusal(OLD, put(b"PK", tmp_path, "w.h5"))


def test_a_state_dict_of_another_net(tmp_path: Path) -> None:
    odd = known.build(
        "zfnet",
        5,
        variant=replace(known.VARIANTS["zfnet"], maps=(3, 5, 7, 9, 11), hidden=(2, 2)),
    )
    text = refusal(OLD, put(pth(odd.state_dict()), tmp_path, "w.pth"))
    assert "3, 5, 7, 9, 11 feature maps cannot be in two groups" in text
    other = pth(known.build("squeezenet1_1").state_dict())
    assert "fc6.weight is missing" in refusal(OLD, put(other, tmp_path, "w.pth"))
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in known.build("alexnet").state_dict().items()}
    # its fully connected layers as narrow as may be, so that no time is lost on them
    narrow = {"classifier.1.weight": (9, 9216), "classifier.4.weight": (9, 9)}
    zeros = {key: torch.zeros(narrow.get(key, shape)) for key, shape in shapes.items()}
    text = refusal(OLD, put(pth(zeros), tmp_path, "w.pth"))
    assert "conv2.weight is 192×64×5×5, the net's own is 192×32×5×5" in text


@pytest.mark.parametrize("suffix", [".onnx", ".h5"])
def test_formats_that_only_the_old_nets_have(suffix: str, tmp_path: Path) -> None:
    text = refusal("squeezenet1_1", put(b"", tmp_path, f"w{suffix}"))
    assert "alexnet-2012, zfnet only" in text


@pytest.mark.parametrize(("suffix", "package"), [(".onnx", "onnx"), (".h5", "h5py")])
def test_without_the_formats_library(
    suffix: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    text = refusal(OLD, put(b"", tmp_path, f"w{suffix}"))
    assert "pip install '.[formats]'" in text
