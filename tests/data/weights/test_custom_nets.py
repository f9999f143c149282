"""Nets of one's own, by the name of a function: mined like any other, refused in one sentence."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from pipeline.cli.app import run_app
from pipeline.core.nets import known
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.core.nets.recipe import Recipe
from pipeline.data.weights.load import OWN, load_net
from pipeline.errors import RequestError
from tests.data.without_ray import end_to_end

pytestmark = pytest.mark.usefixtures("one_thread")

MODULE = """
import torch
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18

from pipeline.core.nets.preprocessing import Preprocessing

PREPARED = Preprocessing(64, 48, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Small(nn.Module):
    short_names = {"body.0": "edges"}
    categories = ["one", "two", "three"]

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(3, 4, 5, stride=2), nn.Conv2d(4, 6, 3, bias=False)
        self.body = nn.Sequential(conv[0], nn.ReLU(), nn.MaxPool2d(2), conv[1], nn.ReLU())
        self.head = nn.Linear(6, 3, bias=False)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def pair():
    return Small(), PREPARED


def attribute():
    net = Small()
    net.preprocessing = PREPARED
    return net


def preset():
    return resnet18(num_classes=4), ResNet18_Weights.DEFAULT.transforms()


class Nets:
    inner = staticmethod(pair)


def trunk():
    return Small().body, PREPARED


def parallel():
    return nn.DataParallel(Small()), PREPARED


def compiled():
    net = Small()
    net.preprocessing = PREPARED
    return torch.compile(nn.DataParallel(net))


def averaged():
    return torch.optim.swa_utils.AveragedModel(Small()), PREPARED


def parallel_features():
    net = Small()
    net.body = nn.DataParallel(net.body)
    return net, PREPARED


def half():
    return Small().half(), PREPARED


def brain():
    return Small().bfloat16(), PREPARED


def auxiliary():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.auxiliary, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            return self.last(self.auxiliary(x).relu()).relu()
    return Two(), PREPARED


def naked():
    return Small()


def strange():
    return Small(), "centre crop"


def number():
    return 7


def fails():
    raise OSError("no such\\ndisk")


def branches():
    class Choosy(Small):
        def forward(self, x):
            return self.body(x) if x.sum() > 0 else x
    return Choosy(), PREPARED


def too_small():
    return Small(), Preprocessing(8, 8)


def no_convolution():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 48, 2)), PREPARED


constant = 3
"""


@pytest.fixture(autouse=True)
def mynets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of one's own that can be imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "mynets.py").write_text(MODULE)
    (folder / "broken.py").write_text(textwrap.dedent("import torch,,\n"))
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("mynets", None)
    sys.modules.pop("broken", None)


@pytest.mark.parametrize("function", ["pair", "attribute", "Nets.inner"])
def test_a_net_and_its_preprocessing(function: str) -> None:
    weighted = load_net(f"mynets:{function}")
    net = weighted.net
    assert weighted.weights == OWN
    assert net.name == f"mynets:{function}"
    assert net.preprocessing == Preprocessing(64, 48, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert [layer.name for layer in net.graph.layers] == ["edges", "body.3"]
    assert net.graph.layer("edges").size == (22, 22)
    assert (net.classes, net.categories) == (3, ("one", "two", "three"))


@pytest.mark.parametrize("function", ["parallel", "compiled", "averaged", "parallel_features"])
def test_what_a_net_was_trained_in_is_taken_off(function: str) -> None:
    plain, weighted = load_net("mynets:pair"), load_net(f"mynets:{function}")
    assert weighted.digest == plain.digest
    assert weighted.net.graph.layers == plain.net.graph.layers
    assert (weighted.net.classes, weighted.net.categories) == (3, plain.net.categories)
    there = Recipe.of(weighted.net, ["edges"], whole=True).make("cpu")
    assert there.graph.layers == plain.net.graph.layers[:1]


@pytest.mark.parametrize("function", ["half", "brain"])
def test_nets_are_mined_in_full_precision(function: str) -> None:
    net = load_net(f"mynets:{function}").net
    assert {tensor.dtype for tensor in net.graph.trunk.state_dict().values()} == {torch.float32}
    images = torch.zeros(1, 3, 48, 48, dtype=torch.uint8)
    assert net.graph.trunk(net.preprocessing.normalise(images))[0].dtype == torch.float32


def test_names_like_those_of_auxiliary_classifiers_count(tmp_path: Path) -> None:
    """Only torchvision's inceptions have such classifiers."""
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(known.build("mynets:auxiliary", seed=9).state_dict(), path)
    expected = load_net("mynets:auxiliary", "random:9").digest
    assert load_net("mynets:auxiliary", str(path)).digest == expected


def test_torchvisions_presets_and_nets_do_too() -> None:
    net = load_net("mynets:preset").net
    assert net.preprocessing == known.preprocessing("resnet18")
    assert net.classes == 4
    usual = load_net("resnet18", "random:0").net
    names = [layer.name for layer in usual.graph.layers]
    assert [layer.name for layer in net.graph.layers] == names


def test_a_trunk_alone_has_no_classes() -> None:
    net = load_net("mynets:trunk").net
    assert net.classes == 0
    assert [layer.name for layer in net.graph.layers] == ["0", "3"]


def test_what_it_draws_follows_from_the_seed() -> None:
    digests = [
        load_net("mynets:pair", weights).digest
        for weights in (None, OWN, "random:0", "random:1", "random:1")
    ]
    assert digests[0] == digests[1] == digests[2]
    assert digests[3] == digests[4] != digests[0]


def test_weights_from_a_file(tmp_path: Path) -> None:
    state = known.build("mynets:pair", seed=9).state_dict()
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state, path)
    weighted = load_net("mynets:pair", str(path))
    assert weighted.digest == load_net("mynets:pair", "random:9").digest
    assert weighted.weights == str(path)


def test_a_worker_builds_it_from_its_name() -> None:
    net = load_net("mynets:pair", "random:5").net
    there = Recipe.of(net, ["edges"]).make("cpu")
    images = torch.randn(2, 3, 48, 48)
    with torch.inference_mode():
        (expected,), (received,) = (
            net.graph.only(["edges"]).trunk(images),
            there.graph.trunk(images),
        )
    torch.testing.assert_close(received, expected)
    assert [layer.name for layer in there.graph.layers] == ["edges"]


def test_mined_and_projected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = end_to_end({"net": "mynets:pair"}, tmp_path, monkeypatch)
    assert run.spec.net == "mynets:pair"
    winners = run.winners()
    assert set(winners["layer"]) == {"edges", "body.3"}
    assert (winners["activation"] > 0).all()
    for layer, side in (("edges", 5), ("body.3", 15)):
        row = run.winners(layer).iloc[0]
        made = run.projections(layer, int(row["feature_map"])).iloc[0]
        assert made["bottom"] - made["top"] == side
        assert np.abs(np.frombuffer(made["projection_array"], "<f4")).max() > 0
    assert run.net.name == "mynets:pair"  # opened again, the weights are checked


REFUSED = {
    "nowhere:make": "nowhere:make cannot be imported (ModuleNotFoundError: No module named",
    "mynets:missing": "mynets:missing cannot be imported (AttributeError: ",
    "mynets:": "mynets: cannot be imported (",
    ":pair": ":pair cannot be imported (",
    "broken:make": "broken:make cannot be imported (SyntaxError: ",
    "mynets:constant": "mynets:constant is int, not a function",
    "mynets:fails": "mynets:fails failed (OSError: no such disk)",
    "mynets:number": "mynets:number returned int, not a torch.nn.Module",
    "mynets:naked": "mynets:naked returned no preprocessing: return (net, Preprocessing)",
    "mynets:strange": "its preprocessing is str, neither a Preprocessing nor one of",
    "mynets:branches": "the net cannot be traced: ",
    "mynets:too_small": "cannot be used: ",
    "mynets:no_convolution": "has no convolution, so there is nothing to mine",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_net_is_refused(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_net(name)
    text = str(caught.value)
    assert text.startswith(f"Net {name}")
    assert REFUSED[name] in text
    assert text.endswith(".")
    assert "\n" not in text


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"body.0.weight": torch.zeros(4, 3, 3, 3)}, path)
    with pytest.raises(RequestError, match=r"do not fit mynets:pair: body.0.weight is 4×3×3×3, "):
        load_net("mynets:pair", str(path))
    (tmp_path / "w.onnx").write_bytes(b"\x08\x03")
    with pytest.raises(RequestError, match="ONNX and Keras files are read for alexnet-2012"):
        load_net("mynets:pair", str(tmp_path / "w.onnx"))


def test_the_command_line_shows_and_refuses_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["nets", "mynets:pair"]) == 0
    assert "edges" in capsys.readouterr().out
    assert run_app(["nets", "mynets:constant"]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.strip().splitlines())) == ("", 1)


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--colour-order", "grb", "--colour-order is rgb or bgr, not 'grb'."),
        ("--mean", "1,2", "--mean is three numbers with commas between, not '1,2'."),
        ("--mean", "1,2,inf", "--mean is three numbers with commas between"),
        ("--mean", "red", "--mean is three numbers with commas between, not 'red'."),
        ("--examples", "1.5", "--examples is shares between 0 and 1 with commas between, or none"),
    ],
)
def test_colours_that_are_none(
    option: str, value: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert run_app(["mine", str(tmp_path), "--run", run, option, value]) == 2
    assert text in " ".join(capsys.readouterr().err.split())
