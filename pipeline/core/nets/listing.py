"""What is said of each net that is known by name, written down: torchvision takes seconds to ask.

``python -m pipeline.core.nets.listing`` asks it, and writes it down anew.
"""

import json
from pathlib import Path
from typing import Any

_PLACE = Path(__file__).with_name("listing.json")

Listed = dict[str, dict[str, Any]]
"""Net → `input` and `resize`, in pixels, the latter as `Preprocessing` has it, and `weights`."""


def listed() -> Listed:
    """As it is written down; in the order in which the nets are shown."""
    nets: Listed = json.loads(_PLACE.read_text())
    return nets


def asked() -> Listed:
    """As torchvision has it."""
    from pipeline.core.nets import known  # all that is slow

    nets = {}
    for name in known.names():
        prepared = known.preprocessing(name)
        nets[name] = {
            "input": list(prepared.input_size),
            "resize": prepared.resize if isinstance(prepared.resize, int) else [*prepared.resize],
            "weights": ["bundled"] if name == known.DEMO else [*known.torchvision_weights(name)],
        }
    return nets


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(net)}" for name, net in asked().items())
    _PLACE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
