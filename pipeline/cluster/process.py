"""How a process that runs the net is set up."""

import ctypes
import sys

import torch

from pipeline.core.arithmetic import multiply_exactly

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names for them, from malloc.h
_MOST = 2**30

_decoders = 0


def settle() -> None:
    """One thread, IEEE float32, and memory that stays.

    With one thread, sums come out the same however many workers share a machine. And what a
    batch needs is handed back and forth with the system unless glibc is told to keep it, which
    costs 6 % of the time of mining AlexNet.
    """
    torch.set_num_threads(1)
    multiply_exactly()
    keep_memory()


def keep_memory() -> None:
    """Keep freed memory for the next batch, where the C library is glibc; else do nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MOST)
        mallopt(_TRIM_THRESHOLD, _MOST)


def share_of_node(processors: float) -> None:
    """Note this worker's share of its node's processors, where it works on a GPU."""
    global _decoders
    _decoders = max(1, int(processors))


def decoders() -> int:
    """Threads that decode beside a GPU; on the net's own core they would only get in its way."""
    return _decoders
