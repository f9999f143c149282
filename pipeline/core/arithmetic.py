"""How numbers are multiplied: in IEEE float32, on every device."""

from typing import Any

import torch


def multiply_exactly() -> None:
    """Make this process multiply float32 as such; a GPU would convolve in TF32 else.

    TF32 has 10 bits of mantissa: activations would be off by 1e-3, and differ from a CPU's.
    """
    backends: Any = torch.backends
    if hasattr(backends.cudnn, "conv"):  # torch allows no mixing of these flags with the older ones
        for operations in (backends.cudnn, backends.mkldnn):
            operations.conv.fp32_precision = "ieee"
        for operations in (backends.cuda, backends.mkldnn):
            operations.matmul.fp32_precision = "ieee"
    else:
        backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = False
