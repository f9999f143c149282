"""Nets with their weights: every way to name them, and what is said when they do not fit."""

import io
import json
import pickle
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision.transforms.functional as tvf
from PIL import Image
from torch import Tensor

from pipeline.core.heaps.peaks import Peaks
from pipeline.core.nets import known
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.demo.images import CLASS_NAMES
from pipeline.data.store import Store
from pipeline.data.weights.load import digest, load_net
from pipeline.errors import RequestError

pytestmark = pytest.mark.usefixtures("one_thread")

SHARED = Path(__file__).parents[3].parent / "shared"
SQUEEZENET = SHARED / "weights" / "squeezenet1_1-imagenet.pth"
State = dict[str, Tensor]


@pytest.fixture(scope="session")
def squeezenet() -> Path:
    if not SQUEEZENET.is_file():
        pytest.skip("no trained SqueezeNet beside this checkout (shared/weights)")
    return SQUEEZENET


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torchvision keeps what it has fetched: nothing yet, and it cannot fetch."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # urllib keeps the first opener it makes, with the proxies of that moment, for all that follow
    monkeypatch.setattr("urllib.request._opener", None)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    return checkpoints


def state_of(seed: int = 3, classes: int = 16) -> State:
    return dict(known.build("demo", classes, seed).state_dict())


def pth(state: object) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def put(data: bytes, suffix: str) -> str:
    """The URL of a file in memory."""
    store = Store(f"memory://{uuid.uuid4().hex}")
    store.write(f"w{suffix}", data)
    return f"{store.url}/w{suffix}"


def refusal(name: str, weights: str | None = None) -> str:
    """The text of the refusal: one sentence."""
    with pytest.raises(RequestError) as caught:
        load_net(name, weights)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1500
    assert text.endswith(".")
    assert not re.search(r"[a-z)'][.?!] [A-Z]", text), text  # one sentence
    return text


# --- every way to name weights ----------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda state: (pth(state), ".pth"),
        lambda state: (pth({"state_dict": state, "epoch": torch.tensor(3)}), ".pth"),
        lambda state: (pth({f"module.{key}": value for key, value in state.items()}), ".pth"),
        lambda state: (pth({key: value.half() for key, value in state.items()}), ".pth"),
        lambda state: (safetensors.torch.save(state), ".safetensors"),
    ],
    ids=["plain", "checkpoint", "data parallel", "half precision", "safetensors"],
)
def test_weights_in_a_file(write: Callable[[State], tuple[bytes, str]], tmp_path: Path) -> None:
    state = state_of()
    data, suffix = write(state)
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data)
    loaded, remote = load_net("demo", str(path)), load_net("demo", put(data, suffix))
    assert loaded.weights == str(path)
    assert loaded.digest == remote.digest
    trunk = loaded.net.graph.trunk.state_dict()
    assert len(trunk) == 10
    for key, tensor in trunk.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, state[key], rtol=1e-3, atol=1e-4)
    with torch.inference_mode():
        values, _ = Peaks.of(loaded.net.graph)(torch.randn(2, 3, 112, 112))
    assert values.shape == (2, 352)


def test_torchvisions_weights_by_name(squeezenet: Path, torch_home: Path) -> None:
    shutil.copy(squeezenet, torch_home / "squeezenet1_1-b8a52dc0.pth")
    default, named = load_net("squeezenet1_1"), load_net("squeezenet1_1", "IMAGENET1K_V1")
    assert default.weights == named.weights == "IMAGENET1K_V1"
    from_file = load_net("squeezenet1_1", str(squeezenet))
    assert default.digest == named.digest == from_file.digest
    for net in (default.net, from_file.net):
        assert net.classes == 1000
        assert net.categories is not None
        assert (net.categories[0], net.categories[-1]) == ("tench", "toilet tissue")
        assert net.preprocessing == Preprocessing(256, 224)
    assert default.digest != load_net("squeezenet1_1", "random:0").digest


def test_the_bundled_weights_of_the_demos_net() -> None:
    bundled = load_net("demo")
    assert bundled.weights == "bundled"
    assert bundled.digest == load_net("demo", "bundled").digest
    assert bundled.net.categories == tuple(CLASS_NAMES)
    assert bundled.net.classes == len(CLASS_NAMES)


def test_random_weights_follow_from_their_seed() -> None:
    torch.manual_seed(1)
    first = load_net("squeezenet1_1", "random:7")
    torch.manual_seed(2)
    again, other = load_net("squeezenet1_1", "random:7"), load_net("squeezenet1_1", "random:8")
    assert first.digest == again.digest != other.digest
    assert first.weights == "random:7"
    assert first.net.categories is None


def test_weights_that_were_fine_tuned_for_other_classes() -> None:
    loaded = load_net("demo", put(pth(state_of(classes=5)), ".pth"))
    assert (loaded.net.classes, loaded.net.categories) == (5, None)
    net = known.build("squeezenet1_1", 3, seed=1)
    tuned = load_net("squeezenet1_1", put(pth(net.state_dict()), ".pth")).net
    assert (tuned.classes, tuned.categories) == (3, None)
    assert tuned.graph.layer("classifier.1").maps == 3


def test_the_digest_is_that_of_the_tensors() -> None:
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}
    assert digest(state) == digest(dict(reversed(state.items())))
    assert digest(state) == digest({**state, "a": state["a"].T.contiguous().T})
    changed = [
        {**state, "a": state["a"] + 1},
        {**state, "a": state["a"].view(3, 2)},
        {**state, "a": state["a"].double()},
        {"a": state["a"], "c": state["b"]},
    ]
    assert len({digest(tensors) for tensors in [state, *changed]}) == 5


# --- refusals ---------------------------------------------------------------------------------


def test_an_unknown_net_lists_the_known_ones() -> None:
    text = refusal("alexnt")
    assert text.startswith("There is no net 'alexnt', did you mean alexnet; known are ")
    assert all(name in text for name in ("demo", "alexnet", "squeezenet1_1", "resnet50"))
    assert "vgg16" in refusal("zzz")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"features.3.weight": None}, "features.3.weight is missing"),
        ({"features.0.bias": torch.zeros(9)}, "features.0.bias is 9, the net's own is 32"),
        ({"strange": torch.zeros(1)}, "the net has no strange"),
    ],
)
def test_the_first_mismatch_is_named(change: dict[str, Tensor | None], text: str) -> None:
    state = {**state_of(), **change}
    data = pth({key: value for key, value in state.items() if value is not None})
    assert text in refusal("demo", put(data, ".pth"))


def test_weights_of_another_net() -> None:
    data = pth(known.build("squeezenet1_1").state_dict())
    assert "do not fit demo: features.0.weight is 64×3×3×3" in refusal("demo", put(data, ".pth"))


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("owned"),)  # type: ignore[return-value]


def legacy(state: object) -> bytes:
    return pickle.dumps(state, 2)


@pytest.mark.parametrize("save", [pth, legacy], ids=["zip", "pickle"])
def test_a_pickle_of_more_than_tensors_is_not_run(
    save: Callable[[object], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = save({"features.0.weight": Malicious()})
    text = refusal("demo", put(data, ".pth"))
    assert "more than tensors" in text
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "spoil",
    [lambda data: b"", lambda data: b"<html>404</html>", lambda data: data[: len(data) // 2]],
    ids=["empty", "a web page", "cut short"],
)
def test_a_corrupt_file(spoil: Callable[[bytes], bytes], suffix: str) -> None:
    good = pth(state_of()) if suffix == ".pth" else safetensors.torch.save(state_of())
    text = refusal("demo", put(spoil(good), suffix))
    assert "neither a torch state dict nor safetensors" in text
    assert "more than tensors" not in text


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"a": 1}, {"state_dict": 3}])
def test_a_file_that_is_no_state_dict(content: object) -> None:
    assert "are no state dict" in refusal("demo", put(pth(content), ".pth"))


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    text = refusal("alexnet", "IMAGENET1K_V9")
    assert "'IMAGENET1K_V9' are neither a file nor weights of alexnet (IMAGENET1K_V1" in text
    assert "random:SEED" in text
    assert "none.pth" in refusal("demo", str(tmp_path / "none.pth"))
    assert "cannot be read" in refusal("demo", str(tmp_path))
    assert "nowhere://" in refusal("demo", "nowhere://x/w.pth")


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", "9" * 30])
def test_a_seed_must_be_a_number(seed: str) -> None:
    assert "the seed must be a number" in refusal("demo", f"random:{seed}")


def test_torchvisions_weights_that_cannot_be_fetched(torch_home: Path) -> None:
    text = refusal("squeezenet1_1")
    assert "IMAGENET1K_V1 of squeezenet1_1 could not be fetched from https://" in text
    assert "--weights random:0" in text


@pytest.mark.parametrize("content", [b"", b"<html>", pth({"a": torch.zeros(2)})[:300]])
def test_torchvisions_weights_that_were_fetched_badly(torch_home: Path, content: bytes) -> None:
    (torch_home / "squeezenet1_1-b8a52dc0.pth").write_bytes(content)
    text = refusal("squeezenet1_1")
    assert "squeezenet1_1-b8a52dc0.pth" in text


def test_torchvisions_own_files_are_read_as_carefully(
    torch_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (torch_home / "squeezenet1_1-b8a52dc0.pth").write_bytes(pth({"a": Malicious()}))
    refusal("squeezenet1_1")
    assert not (tmp_path / "owned").exists()


# --- on real pictures -------------------------------------------------------------------------


def test_squeezenet_knows_real_photographs(squeezenet: Path) -> None:
    """So weights, preprocessing and classes are right together."""
    folder = SHARED / "photos"
    if not folder.is_dir():
        pytest.skip("no photographs beside this checkout (shared/photos)")
    index = json.loads((folder / "imagenet_class_index.json").read_text())
    numbers = {wnid: int(number) for number, (wnid, _) in index.items()}
    net = load_net("squeezenet1_1", str(squeezenet)).net
    top = net.graph.only(["classifier.1"])
    paths = sorted(folder.glob("*.JPEG"))[::4]
    images, classes = [], []
    for path in paths:
        with Image.open(path) as image:
            images.append(net.preprocessing.prepare(tvf.pil_to_tensor(image.convert("RGB"))))
        classes.append(numbers[path.name.split("_")[0]])
    with torch.inference_mode():
        (maps,) = top.trunk(net.preprocessing.normalise(torch.stack(images)))
    expected = torch.tensor(classes)
    best = maps.mean((2, 3)).argsort(1, descending=True)[:, :5]
    assert len(paths) >= 40
    # published, of all of ImageNet: 0.58 and 0.81
    assert (best[:, 0] == expected).float().mean() > 0.5
    assert (best == expected[:, None]).any(1).float().mean() > 0.7
