"""Clocks of single processes that can be set while they run. Linux; needs a C compiler."""

import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")


class Clocks:
    """As many as are asked for, each right at first.

    Args:
        folder: where they are kept; it is there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._library = folder, folder / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self._library, _SOURCE], check=True)

    def variables(self, name: str) -> dict[str, str]:
        """The environment of a process, and all below it, that go by one of them."""
        if not self._file(name).exists():
            self.set(name, 0)
        return {"LD_PRELOAD": str(self._library), "SOAK_CLOCK": str(self._file(name))}

    def set(self, name: str, seconds: int) -> None:
        """Put a clock so much forward, or back, from the machine's."""
        with self._file(name).open("r+b" if self._file(name).exists() else "wb") as file:
            file.write(struct.pack("q", seconds))  # in place: processes have it mapped

    def _file(self, name: str) -> Path:
        return self._folder / f"clock-{name}"
