"""Whether reduced precision pays; where it does not, mining is exact and finds the same."""

import logging

import torch

from pipeline.cluster.session import is_elsewhere
from pipeline.config import RunSpec
from pipeline.core.heaps.screening import has_integers
from pipeline.data.formats.dataset import Dataset
from pipeline.errors import RequestError
from pipeline.request import MineRequest, Precision

_FEWEST = 2.0
"""Images for each winner: with fewer, so many win something that nearly all are looked at again."""

log = logging.getLogger(__name__)


def chosen_precision(
    request: MineRequest, before: RunSpec | None, dataset: Dataset, maps: int
) -> Precision:
    """Fast where that is asked for and pays; a run goes on as it was begun.

    Args:
        request: what is asked for.
        before: what the run is, if it has begun.
        dataset: to mine.
        maps: feature maps of all layers.
    """
    if request.precision == "exact":
        return "exact"
    if before is not None:
        return before.precision
    why = why_exact(request, dataset, maps)
    if why is not None:
        log.info("Mined exactly, with the same winners and sooner: %s.", why)
    return "fast" if why is None else "exact"


def require_decoder(request: MineRequest) -> None:
    """Refuse what a GPU would have to decode, and cannot.

    Raises:
        RequestError: exact mining is asked for, or there is no GPU.
    """
    if request.decoder == "libjpeg":
        return
    if request.precision == "exact":
        raise RequestError(
            "--decoder nvjpeg gives other pixels than libjpeg, and can only screen; "
            "add --precision fast, which finds the same winners, or leave it out."
        )
    if request.gpus == "none" or (not is_elsewhere(request.address) and not _has_gpu()):
        raise RequestError("--decoder nvjpeg decodes on a GPU, and there is none; leave it out.")


def _has_gpu() -> bool:
    return torch.cuda.is_available()


def why_exact(request: MineRequest, dataset: Dataset, maps: int) -> str | None:
    """Why screening would take longer than it saves; None where it pays, as far as that is known.

    Args:
        request: what is asked for.
        dataset: to mine.
        maps: feature maps of all layers.
    """
    images, winners = dataset.approximate_count, maps * request.top_k
    if images < _FEWEST * winners:
        return f"of about {images:,} images up to {winners:,} winners leave few to pass over"
    on_gpu = request.gpus != "none" and _has_gpu()
    if not is_elsewhere(request.address) and not on_gpu and not has_integers():
        return "this processor has no instructions for 8-bit integers (VNNI)"
    return None
