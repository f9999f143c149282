"""That float32 is float32, whatever this torch calls the choice."""

import subprocess
import sys

LOOK = """
import torch
from pipeline.core.arithmetic import multiply_exactly
{before}
multiply_exactly()
if hasattr(torch.backends.cudnn, "conv"):
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.mkldnn.conv.fp32_precision == "ieee"
else:
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
"""


def look(before: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", LOOK.format(before=before)], check=True)


def test_by_default() -> None:
    look("")


def test_after_somebody_asked_for_less() -> None:
    look("torch.set_float32_matmul_precision('medium')")
