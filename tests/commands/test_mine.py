"""What the command that mines says before it does anything."""

from pathlib import Path

import pytest
import torch

from pipeline.commands.mine import mine_run
from pipeline.core.nets import known
from pipeline.data.demo.images import draw, shard_bytes
from pipeline.data.weights.files import is_at_hand
from pipeline.errors import RequestError
from pipeline.request import MineRequest

NET = """
import torch.nn.functional as F
from torch import nn
from torchvision.transforms._presets import ImageClassification

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.heads = nn.ModuleList(nn.Conv2d(4, 4, 3) for _ in range(7))
        self.filters = nn.Parameter(self.stem.weight.detach().clone())

    def forward(self, x):
        y = self.stem(x).relu() ** 2
        return sum(head(y).relu().mean((2, 3)) for head in self.heads), F.conv2d(x, self.filters)

def net():
    return Net(), ImageClassification(crop_size=32, resize_size=32)
"""


def test_what_is_not_mined_or_cannot_be_projected_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "left_out.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    draw(0).image.save(tmp_path / "a.png")
    (tmp_path / "run.json").write_text("{}")  # so that it stops before it mines
    request = MineRequest(data=str(tmp_path), run=str(tmp_path), net="left_out:net")
    with pytest.raises(RequestError, match=r"run\.json cannot be read"):
        mine_run(request)
    left_out, opaque = (record.getMessage() for record in caplog.records)
    assert left_out == (
        "conv2d of left_out:net is not mined: it is called as a function, with weights of its own."
    )
    assert opaque.startswith("Mined, but not to be projected: 7 of 8 layers have no way down: ")
    assert "heads.0 (through pow), heads.1 (through pow)" in opaque
    assert opaque.endswith(" and 1 more.")


@pytest.mark.parametrize("asked", [None, "net", "none"])
def test_labels_that_are_mere_numbers(
    asked: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.tar").write_bytes(shard_bytes(range(2)))
    (tmp_path / "3").mkdir()
    draw(0).image.save(tmp_path / "3" / "a.jpg")
    (tmp_path / "run.json").write_text("{}")  # so that it stops before it mines
    for data, format in (("a.tar", "webdataset"), ("", "folder")):
        request = MineRequest(
            data=f"{tmp_path}/{data}", run=str(tmp_path), net="demo", format=format,
            class_names=asked,
        )  # fmt: skip
        with pytest.raises(RequestError, match=r"run\.json cannot be read"):
            mine_run(request)
    said = [record.getMessage() for record in caplog.records if "labels" in record.getMessage()]
    assert len(said) == (0 if asked else 2)
    assert all("--class-names net takes them for its classes" in line for line in said)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"data": "nowhere"}, r"nowhere does not exist"),
        ({"run": "a.png/run"}, r"a\.png is a file, no folder; name another --run\.$"),
        ({"layers": ("conv9",)}, r"Net alexnet has no layer 'conv9'; it has conv1,"),
    ],
)
def test_what_is_checked_before_weights_are_fetched(
    wrong: dict[str, object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    draw(0).image.save(tmp_path / "a.png")
    asked = {"data": "a.png", "run": "run", "format": "folder", **wrong}
    with pytest.raises(RequestError, match=reason):
        mine_run(MineRequest(**asked))
    assert {path.name for path in tmp_path.iterdir()} == {"a.png"}


def test_layers_of_a_net_whose_weights_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (url,) = (weights.url for weights in known.torchvision_weights("alexnet").values())
    assert not is_at_hand(None, "alexnet")
    assert not is_at_hand("s3://bucket/alexnet.pth", "alexnet")
    assert is_at_hand("alexnet.pth", "alexnet")
    assert is_at_hand(None, "demo")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / url.rpartition("/")[2]).touch()
    assert is_at_hand(None, "alexnet")
    assert is_at_hand("IMAGENET1K_V1", "alexnet")
