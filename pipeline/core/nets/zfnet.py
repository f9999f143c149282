"""ZFNet: Zeiler & Fergus, *Visualizing and Understanding Convolutional Networks*, figure 3.

The AlexNet of 2012 after its authors had looked at its projections: the first filters are smaller
(7×7) and closer (stride 2), which leaves fewer dead and aliased ones, and there are no groups.

A picture is resized so that its shorter side is ``RESIZE`` pixels and cropped to its central
square of ``CROP`` pixels; the colours' means are subtracted from 0–255.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.core.nets.old import Variant

RESIZE = 256
CROP = 224
VARIANT = Variant(padding=1)


class ZFNet(nn.Module):
    """ZFNet.

    Args:
        classes: how many classes it tells apart.
        variant: which of those that were published.

    Shapes:
        Input N×3×224×224, output N×``classes`` logits.
    """

    def __init__(self, classes: int = 1000, variant: Variant = VARIANT) -> None:
        super().__init__()
        one, two, three, four, five = variant.maps
        six, seven = variant.hidden
        self.conv1 = nn.Conv2d(3, one, 7, stride=2, padding=variant.padding)
        self.between1 = variant.between(0)
        self.conv2 = nn.Conv2d(one, two, 5, stride=2)
        self.between2 = variant.between(1)
        self.conv3 = nn.Conv2d(two, three, 3, padding=1)
        self.conv4 = nn.Conv2d(three, four, 3, padding=1)
        self.conv5 = nn.Conv2d(four, five, 3, padding=1)
        self.pool5 = variant.pool(2)
        self.fc6 = nn.Linear(five * 6 * 6, six)
        self.fc7 = nn.Linear(six, seven)
        self.fc8 = nn.Linear(seven, classes)
        self.dropout = nn.Dropout()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes, of mean-subtracted images, N×3×224×224."""
        #                                                      receptive field, stride
        x = F.relu(self.conv1(images))  # N×96×110×110                      7        2
        x = self.between1(x)  # N×96×55×55                                 11        4
        x = F.relu(self.conv2(x))  # N×256×26×26                           27        8
        x = self.between2(x)  # N×256×13×13                                43       16
        x = F.relu(self.conv3(x))  # N×384×13×13                           75       16
        x = F.relu(self.conv4(x))  # N×384×13×13                          107       16
        x = F.relu(self.conv5(x))  # N×256×13×13                          139       16
        x = torch.flatten(self.pool5(x), 1)  # N×9216
        x = self.dropout(F.relu(self.fc6(x)))  # N×4096
        x = self.dropout(F.relu(self.fc7(x)))  # N×4096
        logits: Tensor = self.fc8(x)  # N×1000
        return logits
