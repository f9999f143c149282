"""Pictures that are asked about: sent as files, remembered, or samples of the run's dataset."""

import hashlib
import threading
import time
from contextlib import suppress

from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.pictures import Wanted, read_picture
from pipeline.data.stored.named import Known
from pipeline.errors import AtlasError
from pipeline.service.answers import Refusal, Shown
from pipeline.service.memory import Held, Memory

MOST_BYTES = 32 * 2**20
"""Of a picture's file: those of telephones are a fifth of that."""

MOST_PIXELS = 50_000_000
"""Of a picture: what telephones make, and 150 MB in memory."""

_FORGETTING = 5.0
"""Seconds between looks at what may be forgotten."""


class Pictures:
    """Those of the moment.

    Args:
        preprocessing: of the net.
        data: where the run's dataset is.
        known: the pictures of the run; None if its dataset is not at hand.
    """

    def __init__(self, preprocessing: Preprocessing, data: str, known: Known | None) -> None:
        self.preprocessing, self.data, self.known = preprocessing, data, known
        self.memory = Memory()
        threading.Thread(target=self._forget, daemon=True).start()

    def _forget(self) -> None:
        while True:
            time.sleep(_FORGETTING)
            self.memory.forget()

    def find(self, shown: Shown) -> Held | Refusal:
        """The picture that a question is about, read and remembered."""
        try:
            if shown.data:
                name = hashlib.sha256(shown.data).hexdigest()[:32]
                return self.memory.get(name) or self._read(name, shown.data)
            if held := self.memory.get(shown.name):
                return held
            wanted = self._sample(shown.name)
            if isinstance(wanted, Refusal):
                return wanted
            return self._read(f"sample-{wanted.sample}", wanted)
        except AtlasError as error:
            return Refusal.of(error)

    def _read(self, name: str, source: Wanted | bytes) -> Held:
        dataset = self.known.dataset if self.known else None
        held = Held(name, read_picture(source, self.preprocessing, dataset))
        self.memory.put(held)
        self.memory.forget()
        return held

    def _sample(self, name: str) -> Wanted | Refusal:
        if not name:
            return Refusal(400, "There is no picture: send the bytes of one, or name a sample.")
        if self.known is None:
            return Refusal(404, "The dataset is not at hand here; send the bytes of a picture.")
        key = name.removeprefix(f"{self.data.rstrip('/')}/").removeprefix("sample-")
        found = None
        with suppress(OSError, ValueError):  # a name that nothing can have
            found = self.known.sample(key)
        return found or Refusal(
            404,
            "No picture of that name is remembered here, nor is it a sample of the dataset; "
            "send its bytes.",
        )
