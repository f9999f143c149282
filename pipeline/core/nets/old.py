"""The nets of 2012 and 2013, whose published weights come in several variants.

The AlexNet of 2012: Krizhevsky, Sutskever & Hinton, *ImageNet Classification with Deep
Convolutional Neural Networks*. Written for two GPUs, so the second, fourth and fifth convolution
are in two groups: each half of the maps sees only its half of the maps below. (torchvision's
``alexnet`` is the one of 2014: 64 maps in the first layer, no groups, no local response
normalisation.) Its pictures do not keep their aspect.

ZFNet: Zeiler & Fergus, *Visualizing and Understanding Convolutional Networks*, figure 3. The
AlexNet of 2012 after its authors had looked at its projections: the first filters are smaller
(7×7) and closer (stride 2), which leaves fewer dead and aliased ones, and there are no groups.

The colours' means are subtracted from 0–255.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Normalisation:
    """Local response normalisation: each value over (k + alpha · mean of squares) ** beta.

    The mean is over `size` neighbouring maps, as in Caffe, ONNX and torch. Krizhevsky et al. 2012
    have the sum instead: their alpha times `size` is this one.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True)
class Variant:
    """One net of five convolutions and three fully connected layers, of several.

    Attributes:
        padding: of the first convolution, in pixels.
        maps: feature maps of each convolution.
        hidden: width of each fully connected layer but the last.
        normalisation: after the first and the second convolution.
        pool_first: whether pooling comes before normalisation there.
        ceil: for each of the three pools, whether a last window may reach over the border.
    """

    padding: int = 0
    maps: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    hidden: tuple[int, int] = (4096, 4096)
    normalisation: Normalisation = Normalisation()
    pool_first: bool = True
    ceil: tuple[bool, bool, bool] = (True, True, True)

    def pool(self, number: int) -> nn.MaxPool2d:
        """One of the three pools, 3×3 with stride 2, from 0."""
        return nn.MaxPool2d(3, stride=2, ceil_mode=self.ceil[number])

    def between(self, number: int) -> nn.Sequential:
        """What follows the first and the second rectified convolution."""
        how = self.normalisation
        norm = nn.LocalResponseNorm(how.size, how.alpha, how.beta, how.k)
        steps = (self.pool(number), norm)
        return nn.Sequential(*(steps if self.pool_first else reversed(steps)))

    def as_wide_as(self, state: Mapping[str, Tensor]) -> "Variant":
        """The same with the widths of some weights.

        Raises:
            ValueError: a layer is missing.
        """
        names = [f"{name}.weight" for name in ("conv1", "conv2", "conv3", "conv4", "conv5")]
        hidden = [f"{name}.weight" for name in ("fc6", "fc7")]
        for name in (*names, *hidden):
            if name not in state or not state[name].dim():
                raise ValueError(f"{name} is missing")
        maps, width = ([len(state[name]) for name in group] for group in (names, hidden))
        conv1, conv2, conv3, conv4, conv5 = maps
        fc6, fc7 = width
        return replace(self, maps=(conv1, conv2, conv3, conv4, conv5), hidden=(fc6, fc7))


@dataclass(frozen=True)
class Design:
    """In what the two nets differ.

    Attributes:
        resize: pixels of a picture's shorter side, or (height, width).
        crop: pixels of its central square: the input.
        variant: its paper's own.
        side: of the first convolution's filters.
        stride: of the first convolution.
        second: stride and padding of the second one.
        groups: of the second, fourth and fifth one.
    """

    resize: int | tuple[int, int]
    crop: int
    variant: Variant
    side: int
    stride: int
    second: tuple[int, int]
    groups: int


DESIGNS = {
    "alexnet-2012": Design((256, 256), 227, Variant(), 11, 4, second=(1, 2), groups=2),
    "zfnet": Design(256, 224, Variant(padding=1), 7, 2, second=(2, 0), groups=1),
}


class OldNet(nn.Module):
    """One of the two nets.

    Args:
        design: which one.
        classes: how many classes it tells apart.
        variant: which of those that were published; its paper's if not given.

    Shapes:
        Input N×3×``crop``×``crop``, output N×``classes`` logits.
    """

    def __init__(self, design: Design, classes: int = 1000, variant: Variant | None = None) -> None:
        super().__init__()
        variant = variant or design.variant
        maps1, maps2, maps3, maps4, maps5 = variant.maps
        width6, width7 = variant.hidden
        (stride, padding), groups = design.second, design.groups
        self.conv1 = nn.Conv2d(3, maps1, design.side, design.stride, variant.padding)
        self.between1 = variant.between(0)
        self.conv2 = nn.Conv2d(maps1, maps2, 5, stride, padding, groups=groups)
        self.between2 = variant.between(1)
        self.conv3 = nn.Conv2d(maps2, maps3, 3, padding=1)
        self.conv4 = nn.Conv2d(maps3, maps4, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(maps4, maps5, 3, padding=1, groups=groups)
        self.pool5 = variant.pool(2)
        self.fc6 = nn.Linear(maps5 * 6 * 6, width6)
        self.fc7 = nn.Linear(width6, width7)
        self.fc8 = nn.Linear(width7, classes)
        self.dropout = nn.Dropout()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes, of mean-subtracted images, N×3×227×227 or N×3×224×224."""
        #                                  AlexNet: field, stride     ZFNet: field, stride
        x = F.relu(self.conv1(images))  # N×96×55×55     11     4   N×96×110×110    7     2
        x = self.between1(x)  #           N×96×27×27     19     8     N×96×55×55   11     4
        x = F.relu(self.conv2(x))  #     N×256×27×27     51     8    N×256×26×26   27     8
        x = self.between2(x)  #          N×256×13×13     67    16    N×256×13×13   43    16
        x = F.relu(self.conv3(x))  #     N×384×13×13     99    16    N×384×13×13   75    16
        x = F.relu(self.conv4(x))  #     N×384×13×13    131    16    N×384×13×13  107    16
        x = F.relu(self.conv5(x))  #     N×256×13×13    163    16    N×256×13×13  139    16
        x = torch.flatten(self.pool5(x), 1)  # N×9216
        x = self.dropout(F.relu(self.fc6(x)))  # N×4096
        x = self.dropout(F.relu(self.fc7(x)))  # N×4096
        logits: Tensor = self.fc8(x)  # N×1000
        return logits
