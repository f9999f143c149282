"""The demo's net: AlexNet's shape, narrower, for the sixteen classes of the generated set.

Five convolutions, the first one large and strided, and three overlapping 3×3 pools of stride 2
after the first, second and fifth; no normalisation. The submodules are named as in torchvision's
AlexNet, so the convolutions are ``features.0``, ``.3``, ``.6``, ``.8`` and ``.10``.

A picture is resized so that its shorter side is ``RESIZE`` pixels (bilinear, antialiased), cropped
to its central square of ``CROP`` pixels, scaled to 0–1, and normalised by ``MEAN`` and ``STD``.
"""

import torch
from torch import nn

RESIZE = 128
CROP = 112
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
CLASSES = 16


class DemoNet(nn.Module):
    """A small AlexNet.

    Args:
        classes: how many classes it tells apart.

    Shapes:
        Input N×3×112×112, output N×``classes`` logits.
    """

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.features = nn.Sequential(  # N×3×112×112        receptive field, stride
            nn.Conv2d(3, 32, 7, stride=2, padding=2),  # 32×55×55         7        2
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),  # 32×27×27                       11        4
            nn.Conv2d(32, 64, 5, padding=2),  # 64×27×27                 27        4
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),  # 64×13×13                       35        8
            nn.Conv2d(64, 96, 3, padding=1),  # 96×13×13                 51        8
            nn.ReLU(inplace=True),
            nn.Conv2d(96, 96, 3, padding=1),  # 96×13×13                 67        8
            nn.ReLU(inplace=True),
            nn.Conv2d(96, 64, 3, padding=1),  # 64×13×13                 83        8
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),  # 64×6×6                         99       16
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # 64×1×1
        self.classifier = nn.Sequential(
            nn.Flatten(),  # 64
            nn.Dropout(0.2),
            nn.Linear(64, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, N×classes, of normalised images, N×3×112×112."""
        logits: torch.Tensor = self.classifier(self.avgpool(self.features(images)))
        return logits
