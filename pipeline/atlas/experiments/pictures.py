"""Pictures of experiments, as they are stored, on a page."""

import io

import numpy as np
from PIL import Image

from pipeline.atlas.drawing.page import Area, Page, Pixels
from pipeline.atlas.drawing.style import HAIR

_SHARP = 8
"""Times enlarged, from which on pixels are shown as such."""


def stored_picture(page: Page, data: bytes, area: Area) -> Area:
    """Show a stored picture as large as it fits; where it then is."""
    with Image.open(io.BytesIO(data)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    return shown(page, pixels, area)


def shown(page: Page, pixels: Pixels, area: Area) -> Area:
    """Show pixels (H, W, 3) as large as they fit, from the area's top left; where they then are."""
    high, wide = pixels.shape[:2]
    scale = min(area.width / wide, area.height / high)
    placed = Area(area.x, area.y, wide * scale, high * scale)
    page.picture(placed, pixels, HAIR, 0.2, sharp=scale * page.density >= _SHARP)
    return placed
