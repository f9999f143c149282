"""Batches on their way to the device of a net."""

from collections import deque
from typing import Any

import torch
from torch import Tensor

_AHEAD = 2
"""Batches that may wait for a GPU: enough that it never waits, and its memory stays bounded."""


class Upload:
    """Brings batches to a device, in order.

    To a GPU they are copied beside what it computes, on a stream of their own and from pinned
    memory, without waiting but for the batches before the last ones.

    Args:
        device: where to.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies: Any = None
        if device.type == "cuda":
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._begun: deque[torch.cuda.Event] = deque()

    def __call__(self, images: Tensor) -> Tensor:
        """The same batch there, for the work that is begun next."""
        if self._copies is None:
            return images.to(self._device)
        work = torch.cuda.current_stream(self._device)
        if len(self._begun) == _AHEAD:
            self._begun.popleft().synchronize()
        self._begun.append(work.record_event())
        with torch.cuda.stream(self._copies):
            there = images.to(self._device, non_blocking=True)
        work.wait_stream(self._copies)
        there.record_stream(work)  # or its memory could be given to the next copy too early
        return there
