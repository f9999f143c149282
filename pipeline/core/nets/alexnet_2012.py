"""The AlexNet of 2012.

Krizhevsky, Sutskever & Hinton, *ImageNet Classification with Deep Convolutional Neural Networks*.
Written for two GPUs, so the second, fourth and fifth convolution are in two groups: each half of
the maps sees only its half of the maps below. (torchvision's ``alexnet`` is the one of 2014: 64
maps in the first layer, no groups, no local response normalisation.)

A picture is resized to ``RESIZE`` (its aspect is not kept) and cropped to its central square of
``CROP`` pixels; the colours' means are subtracted from 0–255.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.core.nets.old import Variant

RESIZE = (256, 256)
CROP = 227
VARIANT = Variant()


class AlexNet2012(nn.Module):
    """AlexNet with two groups and local response normalisation.

    Args:
        classes: how many classes it tells apart.
        variant: which of those that were published.

    Shapes:
        Input N×3×227×227, output N×``classes`` logits.
    """

    def __init__(self, classes: int = 1000, variant: Variant = VARIANT) -> None:
        super().__init__()
        one, two, three, four, five = variant.maps
        six, seven = variant.hidden
        self.conv1 = nn.Conv2d(3, one, 11, stride=4, padding=variant.padding)
        self.between1 = variant.between(0)
        self.conv2 = nn.Conv2d(one, two, 5, padding=2, groups=2)
        self.between2 = variant.between(1)
        self.conv3 = nn.Conv2d(two, three, 3, padding=1)
        self.conv4 = nn.Conv2d(three, four, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(four, five, 3, padding=1, groups=2)
        self.pool5 = variant.pool(2)
        self.fc6 = nn.Linear(five * 6 * 6, six)
        self.fc7 = nn.Linear(six, seven)
        self.fc8 = nn.Linear(seven, classes)
        self.dropout = nn.Dropout()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes, of mean-subtracted images, N×3×227×227."""
        #                                                      receptive field, stride
        x = F.relu(self.conv1(images))  # N×96×55×55                       11        4
        x = self.between1(x)  # N×96×27×27                                 19        8
        x = F.relu(self.conv2(x))  # N×256×27×27                           51        8
        x = self.between2(x)  # N×256×13×13                                67       16
        x = F.relu(self.conv3(x))  # N×384×13×13                           99       16
        x = F.relu(self.conv4(x))  # N×384×13×13                          131       16
        x = F.relu(self.conv5(x))  # N×256×13×13                          163       16
        x = torch.flatten(self.pool5(x), 1)  # N×9216
        x = self.dropout(F.relu(self.fc6(x)))  # N×4096
        x = self.dropout(F.relu(self.fc7(x)))  # N×4096
        logits: Tensor = self.fc8(x)  # N×1000
        return logits
