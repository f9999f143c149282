"""What one would write by hand to find the strongest images of AlexNet's maps; nothing of ours.

``python -m pipeline.bench.by_hand FOLDER``
"""

import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import get_model


class _Pictures(Dataset[Tensor]):
    def __init__(self, folder: str) -> None:
        self.paths = sorted(Path(folder).iterdir())
        self.transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        picture: Tensor = self.transform(Image.open(self.paths[index]).convert("RGB"))
        return picture


def main(folder: str, ranks: int = 9, processes: int = 2) -> None:
    """The best images of every map of AlexNet's rectified convolutions."""
    net = get_model("alexnet", weights=None).eval()
    seen: dict[str, list[Tensor]] = {}
    for name, module in net.features.named_children():
        if isinstance(module, nn.ReLU):

            def keep(*call: Any, name: str = name) -> None:
                seen.setdefault(name, []).append(call[2].flatten(2).amax(2))

            module.register_forward_hook(keep)
    with torch.inference_mode():
        for batch in DataLoader(_Pictures(folder), batch_size=64, num_workers=processes):
            net.features(batch)
    for name, values in seen.items():
        best = torch.cat(values).topk(ranks, dim=0)
        print(name, *best.values.shape)


if __name__ == "__main__":
    main(sys.argv[1])
