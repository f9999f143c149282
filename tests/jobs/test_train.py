"""The training job: a short run learns, and one seed gives the same bits twice."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from jobs.train import (
    TRAIN_FROM,
    Examples,
    Recipe,
    accuracy,
    app,
    batches,
    examples,
    fit,
    normalised,
    untrained,
)
from pipeline.core.nets.demo import CROP, MEAN, RESIZE, STD

SHORT = Recipe(epochs=5, batch=16, rate=2e-3)


@pytest.fixture(scope="module")
def data() -> Examples:
    return examples(range(TRAIN_FROM, TRAIN_FROM + 96))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_examples_are_preprocessed_as_the_net_says(data: Examples) -> None:
    assert data.images.shape == (96, 3, RESIZE, RESIZE)
    assert data.images.dtype == torch.uint8
    assert torch.bincount(data.labels).tolist() == [6] * 16
    assert torch.equal(examples(range(TRAIN_FROM + 5, TRAIN_FROM + 6)).images[0], data.images[5])
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    expected = [-MEAN[0] / STD[0], (1 - MEAN[0]) / STD[0]]
    assert normalised(pixels)[0, 0, 0].tolist() == pytest.approx(expected)


def test_an_epoch_takes_each_picture_once(data: Examples) -> None:
    numbered = Examples(data.images, torch.arange(96))
    taken = [labels for _, labels in batches(numbered, Recipe(epochs=2, batch=32))]
    for epoch in (taken[:3], taken[3:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(96))
    assert not torch.equal(taken[0], taken[3])
    images, _ = next(batches(data, SHORT))
    assert images.shape == (16, 3, CROP, CROP)


def test_a_short_run_learns_and_repeats_bit_by_bit(data: Examples) -> None:
    first, second = untrained(), untrained()
    losses = fit(first, data, SHORT)
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) - 0.1
    torch.rand(3)  # whatever else draws chance must not matter
    assert fit(second, data, SHORT) == losses
    for name, weights in first.state_dict().items():
        assert torch.equal(weights, second.state_dict()[name]), name


def test_another_seed_gives_another_net() -> None:
    assert not torch.equal(untrained(0).features[3].weight, untrained(1).features[3].weight)


def test_accuracy_counts_what_is_right(data: Examples) -> None:
    net = untrained().eval()
    logits = net(normalised(data.images[..., 8 : 8 + CROP, 8 : 8 + CROP]))
    told = Examples(data.images, logits.argmax(1))
    assert accuracy(net, told) == 1
    assert accuracy(net, Examples(data.images, (told.labels + 1) % 16)) == 0


def test_the_job_writes_weights_that_say_how_they_came_about(tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    options = ["--out", str(out), "--images", "64", "--unseen", "16", "--epochs", "2"]
    options += ["--keep", "0", "--keep", "1"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "unseen pictures right" in result.output
    untrained().load_state_dict(load_file(out), strict=True)
    names = ("net-epoch-00", "net-epoch-01", "net")
    steps = [load_file(tmp_path / f"{name}.safetensors")["features.3.weight"] for name in names]
    assert torch.equal(steps[0], untrained().features.get_parameter("3.weight"))
    assert not torch.equal(steps[0], steps[1])
    assert not torch.equal(steps[1], steps[2])
    assert len(list(tmp_path.iterdir())) == 3


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--images", "3", "--out", str(tmp_path / "x")])
    assert result.exit_code == 2


def test_a_missing_folder_is_noticed_before_the_work(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "none" / "x.safetensors")])
    assert result.exit_code == 2
    assert not (tmp_path / "none").exists()
