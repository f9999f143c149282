"""Trains the demo's net on the generated image set: ``python -m jobs.train --help``.

Every picture is drawn, resized and kept in memory as uint8; each step takes a batch of random
crops with jittered colours. The pictures trained on have indices from ``TRAIN_FROM`` on, those
tested on have indices from 0, which are also the ones that the demo shows: the net has seen none
of them.

One seed gives the same weights bit by bit on the same machine, with the same versions and number
of threads. Elsewhere the convolutions round differently, and what repeats is the pictures, their
order and the crops, so the accuracy by and large but not the bits.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

from pipeline.core.nets.demo import CROP, MEAN, RESIZE, STD, DemoNet
from pipeline.data.demo.images import WEIGHTS, draw

TRAIN_FROM = 1_000_000

app = typer.Typer(add_completion=False)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Examples:
    """Pictures in memory.

    Attributes:
        images: N×3×RESIZE×RESIZE, uint8, the central squares of the resized pictures.
        labels: N, int64.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the pictures.
        batch: pictures a step.
        rate: the highest learning rate, reached after a tenth of the steps.
        decay: AdamW's weight decay.
        smoothing: how fast conv1's filters are blurred, as a multiple of the learning rate.
        seed: of the first weights, the order, the crops and the colours.
    """

    epochs: int = 10
    batch: int = 64
    rate: float = 1.5e-3
    decay: float = 0.05
    smoothing: float = 12.0
    seed: int = 0


def examples(indices: range, *, seed: int = 0) -> Examples:
    """Draw pictures of the set and preprocess them up to the crop."""
    images = torch.empty(len(indices), 3, RESIZE, RESIZE, dtype=torch.uint8)
    labels = torch.empty(len(indices), dtype=torch.int64)
    for row, index in enumerate(indices):
        picture = draw(index, seed=seed)
        pixels = torch.from_numpy(np.array(picture.image)).permute(2, 0, 1)
        resized = vision.resize(pixels, [RESIZE], antialias=True)
        images[row] = vision.center_crop(resized, [RESIZE])
        labels[row] = picture.label
    return Examples(images, labels)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """What the net takes, float32 in channels-last order, of N×3×H×W uint8 pixels."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    scaled = (images.float() / 255 - mean) / std
    return scaled.contiguous(memory_format=torch.channels_last)


def batches(data: Examples, recipe: Recipe) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every epoch's batches (images N×3×CROP×CROP, labels N), in random order, augmented."""
    chance = torch.Generator().manual_seed(recipe.seed)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(data), generator=chance)
        for start in range(0, len(data) - recipe.batch + 1, recipe.batch):
            rows = order[start : start + recipe.batch]
            yield _augmented(data.images[rows], chance), data.labels[rows]


def _augmented(images: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Random crops, with each colour channel's gain and offset changed, and channels exchanged.

    No flips: the set has its things mirrored already, where they may be.
    """
    places = torch.randint(RESIZE - CROP + 1, (len(images), 2), generator=chance).tolist()
    swaps = torch.rand(len(images), 3, generator=chance).argsort(1)
    crops = [
        image[swap, y : y + CROP, x : x + CROP]
        for image, swap, (y, x) in zip(images, swaps, places, strict=True)
    ]
    gain = 1 + 0.25 * (2 * torch.rand(len(images), 3, 1, 1, generator=chance) - 1)
    offset = 0.4 * (2 * torch.rand(len(images), 3, 1, 1, generator=chance) - 1)
    mixed = normalised(torch.stack(crops)) * gain + offset
    return mixed.contiguous(memory_format=torch.channels_last)


def untrained(seed: int = 0) -> DemoNet:
    """A net with its first weights: He's initialisation, in conv1 smoothed noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = DemoNet()
        for module in net.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        _smooth(net, 1.0)
        with torch.no_grad():  # a mean of nine has a third of their spread
            net.features.get_parameter("0.weight").mul_(3)
    return net.to(memory_format=torch.channels_last)


def fit(
    net: DemoNet,
    data: Examples,
    recipe: Recipe,
    report: Report | None = None,
    after_epoch: Callable[[int], None] = lambda _: None,
) -> list[float]:
    """Train a net in place.

    Args:
        net: with its first weights.
        data: to train on.
        recipe: how.
        report: is told of the loss.
        after_epoch: is told the number of each epoch at its end, from 1.

    Returns:
        The loss of every step.
    """
    of_epoch = len(data) // recipe.batch
    steps = recipe.epochs * of_epoch
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _pace(step, steps))
    losses: list[float] = []
    net.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # of dropout
        for images, labels in batches(data, recipe):
            loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            _smooth(net, recipe.smoothing * float(schedule.get_last_lr()[0]))
            schedule.step()
            losses.append(loss.item())
            if report and len(losses) % 50 == 0:
                report(f"step {len(losses)} of {steps}: loss {np.mean(losses[-50:]):.3f}")
            if len(losses) % of_epoch == 0:
                after_epoch(len(losses) // of_epoch)
    net.eval()
    return losses


@torch.no_grad()
def _smooth(net: DemoNet, share: float) -> None:
    """Blur conv1's filters by a share, as weight decay shrinks weights, but across space.

    Adam's steps are as large for noise as for what matters; without this, the filters stay grainy.
    """
    weight = net.features.get_parameter("0.weight")
    weight.lerp_(F.avg_pool2d(weight, 3, stride=1, padding=1), min(1.0, share))


def _pace(step: int, steps: int) -> float:
    """The learning rate's share of its highest: up for a tenth of the steps, then half a cosine."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.inference_mode()
def accuracy(net: DemoNet, data: Examples) -> float:
    """The share of pictures, centrally cropped, whose class comes first."""
    net.eval()
    right = 0
    for start in range(0, len(data), 100):
        rows = slice(start, start + 100)
        logits = net(normalised(vision.center_crop(data.images[rows], [CROP])))
        right += int((logits.argmax(1) == data.labels[rows]).sum())
    return right / len(data)


def _weights(net: DemoNet) -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in net.state_dict().items()}


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Where to write the weights.")] = WEIGHTS,
    images: Annotated[int, typer.Option(min=64, help="Pictures to train on.")] = 12_000,
    unseen: Annotated[
        int, typer.Option(min=1, max=TRAIN_FROM, help="Pictures to test on.")
    ] = 2_000,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the first weights and all chance.")] = 0,
    keep: Annotated[
        list[int] | None,
        typer.Option(
            min=0, help="Also keep the weights after this epoch, as OUT-epoch-NN; may be repeated."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="The net's threads.")] = 1,
) -> None:
    """Train the demo's net and write its weights as safetensors.

    Example: python -m jobs.train --out demo_net.safetensors --keep 1 --keep 5
    """
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}; make it first")
    torch.set_num_threads(threads)
    typer.echo(f"drawing {images} pictures to train on, {unseen} to test on")
    data = examples(range(TRAIN_FROM, TRAIN_FROM + images))
    recipe = Recipe(epochs=epochs, seed=seed)
    net = untrained(seed)
    kept = set(keep or ())

    def keep_weights(epoch: int) -> None:
        if epoch in kept:
            path = out.with_name(f"{out.stem}-epoch-{epoch:02}.safetensors")
            save_file(_weights(net), path, {"net": "DemoNet", "epoch": str(epoch)})
            typer.echo(f"weights after {epoch} epochs in {path}")

    keep_weights(0)
    losses = fit(net, data, recipe, typer.echo, keep_weights)
    reached = accuracy(net, examples(range(unseen)))
    metadata = {
        "net": "DemoNet",
        "seed": str(seed),
        "images": str(images),
        "steps": str(len(losses)),
        "unseen_images": str(unseen),
        "unseen_accuracy": f"{reached:.4f}",
    }
    save_file(_weights(net), out, metadata)
    typer.echo(f"{reached:.2%} of {unseen} unseen pictures right; weights in {out}")


if __name__ == "__main__":
    app()
