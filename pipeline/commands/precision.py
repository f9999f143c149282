"""Whether reduced precision pays; where it does not, mining is exact and finds the same."""

import os

import torch

from pipeline.core.heaps.screening import has_integers
from pipeline.data.formats.dataset import Dataset
from pipeline.request import MineRequest

_FEWEST = 2.0
"""Images for each winner: with fewer, so many win something that nearly all are looked at again."""


def why_exact(request: MineRequest, dataset: Dataset, maps: int) -> str | None:
    """Why screening would take longer than it saves; None where it pays, as far as that is known.

    Args:
        request: what is asked for.
        dataset: to mine.
        maps: feature maps of all layers.
    """
    winners = maps * request.top_k
    if dataset.about < _FEWEST * winners:
        return f"of about {dataset.about:,} images up to {winners:,} winners leave few to pass over"
    is_here = not (request.address or os.environ.get("RAY_ADDRESS"))
    on_gpu = request.gpus != "none" and torch.cuda.is_available()
    if is_here and not on_gpu and not has_integers():
        return "this processor has no instructions for 8-bit integers (VNNI)"
    return None
