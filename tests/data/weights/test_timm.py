"""timm's nets by name: prepared for as timm does, with weights from files and from the hub."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from pipeline.core.nets import known, of_timm
from pipeline.core.nets.recipe import Recipe
from pipeline.data.demo.images import draw
from pipeline.data.pictures import read_picture
from pipeline.data.weights.files import is_at_hand
from pipeline.data.weights.load import load_net
from pipeline.errors import RequestError
from tests.data.without_ray import end_to_end

timm = pytest.importorskip("timm")

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = "timm:test_resnet"  # timm's own for tests: 160 pixels, half a million parameters


@pytest.mark.parametrize(
    "name", [SMALL, "timm:resnet18.tv_in1k", "timm:mobilenetv3_small_050", "timm:efficientnet_b0"]
)
def test_pictures_are_prepared_as_timm_does(name: str) -> None:
    net = load_net(name, "random:0", resize="pillow").net
    module = timm.create_model(name.removeprefix("timm:"))
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=module))
    for image in (draw(3).image, Image.fromarray(np.array(draw(4).image)[:, :150])):
        found = net.preprocessing.normalise(read_picture(image, net.preprocessing).image[None])[0]
        torch.testing.assert_close(found, transform(image), rtol=0, atol=1e-6)


def test_mined_and_projected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = end_to_end({"net": SMALL, "weights": "random:3"}, tmp_path, monkeypatch)
    assert len(run.layers) > 5
    winners = run.winners(run.layers[0])
    assert len(run.projections(run.layers[0], int(winners["feature_map"].iloc[0])))


def test_weights_from_files(tmp_path: Path) -> None:
    expected = load_net(SMALL, "random:7").digest
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(known.build(SMALL, seed=7).state_dict(), path)
    assert load_net(SMALL, str(path)).digest == expected

    fine_tuned = known.build(SMALL, 5, seed=7).state_dict()
    trained = {"state_dict": {f"module.{key}": tensor for key, tensor in fine_tuned.items()}}
    torch.save(trained, tmp_path / "w.pth")
    weighted = load_net(SMALL, str(tmp_path / "w.pth"))
    assert weighted.net.classes == 5
    there = Recipe.of(weighted.net, weighted.net.graph.only([]).layers or (), whole=True)
    assert there.make("cpu").classes == 5

    headless = {key: tensor for key, tensor in fine_tuned.items() if not key.startswith("fc.")}
    torch.save(headless, tmp_path / "w.pth")
    assert load_net(SMALL, str(tmp_path / "w.pth")).net.classes == 0


def test_names_of_published_weights() -> None:
    assert "a1_in1k" in of_timm.tags("timm:resnet18")
    assert of_timm.tags("timm:resnet18.tv_in1k")[0] == "tv_in1k"
    assert of_timm.repository("timm:resnet18", "tv_in1k") == "timm/resnet18.tv_in1k"
    assert of_timm.repository("timm:resnet18", "hf_hub:me/mine") == "me/mine"
    assert is_at_hand("random:0", "timm:resnet18")
    assert is_at_hand("weights.pth", "timm:resnet18")
    assert not is_at_hand("hf_hub:me/never", "timm:resnet18")


HUB = """
import json, sys
from pipeline.data.weights.files import is_at_hand
from pipeline.data.weights.load import load_net
from pipeline.errors import RequestError

made = {}
for name, weights in json.loads(sys.argv[1]):
    try:
        weighted = load_net(name, weights)
        made[f"{name} {weights}"] = [weighted.digest, weighted.weights, weighted.net.classes,
                                     weighted.net.preprocessing.crop, is_at_hand(weights, name)]
    except RequestError as error:
        made[f"{name} {weights}"] = str(error)
print(json.dumps(made))
"""


def _publish(home: Path, repository: str, tag: str, classes: int) -> Path:
    """Put a net where the hub's client keeps what it has fetched; the file of its weights."""
    folder = home / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    state = known.build(SMALL, classes, seed=7).state_dict()
    safetensors.torch.save_file(state, snapshot / "model.safetensors")
    size: dict[str, Any] = {"input_size": [3, 128, 128], "tag": tag, "num_classes": classes}
    config = {"architecture": "test_resnet", "num_classes": classes, "pretrained_cfg": size}
    (snapshot / "config.json").write_text(json.dumps(config))
    return snapshot / "model.safetensors"


def test_weights_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client finds them among what it fetched before, as it does everywhere."""
    tag = of_timm.tags(SMALL)[0]
    file = _publish(tmp_path, "me/mine", "mine", 5)
    _publish(tmp_path, f"timm/test_resnet.{tag}", tag, 1000)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = [
        (SMALL, None), (SMALL, "hf_hub:me/mine"), ("timm:resnet18", "hf_hub:me/mine"),
        (SMALL, "hf_hub:me/never"), ("timm:resnet18", None),
    ]  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", HUB, json.dumps(asked)], capture_output=True, text=True, check=True
    )
    own, mine, other, never, absent = json.loads(ran.stdout).values()
    expected = load_net(SMALL, "random:7")
    assert own == [expected.digest, tag, 1000, expected.net.preprocessing.crop, True]
    assert mine == [load_net(SMALL, str(file)).digest, "hf_hub:me/mine", 5, 128, True]
    assert other == "Net hf_hub:me/mine is of timm's test_resnet, not of timm:resnet18."
    assert "hf_hub:me/never of timm:test_resnet could not be fetched (" in never
    assert absent.startswith("timm's weights a1_in1k of timm:resnet18 could not be fetched (")


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        ("timm:resnet81", None, "is not one of timm's, did you mean timm:resnet"),
        ("timm:", "random:0", "timm: is not one of timm's"),
        (SMALL, "nowhere.pth", "nowhere.pth"),
    ],
)
def test_what_is_no_net_is_refused(name: str, weights: str | None, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        load_net(name, weights)
    assert "\n" not in str(caught.value)


def test_without_timm_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RequestError, match=r"needs timm: pip install '\.\[timm\]'"):
        load_net("timm:resnet18")


def test_weights_that_a_net_computes_of_its_own_travel_too() -> None:
    """With standardised weights, the trunk's are none of the net's."""
    net = load_net("timm:nf_resnet26", "random:4").net
    assert len(net.graph.layers) == 29
    top = net.graph.layers[-1].name
    images = torch.randn(1, 3, *net.preprocessing.input_size)
    (expected,) = net.graph.only([top]).trunk(images)
    for whole in (False, True):
        there = Recipe.of(net, [top], whole=whole).make("cpu")
        torch.testing.assert_close(there.graph.trunk(images)[0], expected)
