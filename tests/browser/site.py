"""The browser, and what the atlas that it looks at has."""

from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
QUIET += " --disable-background-networking --disable-component-update"
LAYERS = {"conv1": (8, 11, 4), "conv2": (140, 9, 8), "layer2.0.conv1": (4, 160, 16)}

both = pytest.mark.parametrize("index", ["http", "file"], indirect=True)
without_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")
