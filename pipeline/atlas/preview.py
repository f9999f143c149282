"""The picture that other sites show beside a link to an atlas."""

import io

from PIL import Image

from pipeline.atlas import sheets
from pipeline.atlas.assets import Assets
from pipeline.atlas.documents.content import Content

_COLUMNS, _ROWS = 10, 5
_SIDE = 120
_SIZE = _COLUMNS * _SIDE, _ROWS * _SIDE + 30  # what is usual: 1200 × 630
_DEPTH = 0.6
"""Of the layers, how far in the one lies that is shown: neither edges alone nor whole pictures."""


def write_preview(assets: Assets, content: Content) -> str:
    """Write it; its name."""
    layer = content.layers[int(_DEPTH * (len(content.layers) - 1))]
    side = sheets.THUMBNAILS["large"]
    picture = Image.new("RGB", _SIZE, (16, 17, 19))
    with Image.open(
        io.BytesIO(assets.dest.read(layer.pages[0].sprites["projections-large"]))
    ) as of:
        sprite = of.convert("RGBA")
    for number in range(_COLUMNS * _ROWS):
        row, column = divmod(
            number % max(1, min(layer.maps, sheets.SPRITE_CELLS)), sheets.SPRITE_COLUMNS
        )
        corner = column * side, row * side
        cell = sprite.crop((*corner, corner[0] + side, corner[1] + side)).resize((_SIDE, _SIDE))
        down, right = divmod(number, _COLUMNS)
        picture.paste(cell, (right * _SIDE, 15 + down * _SIDE), cell)
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=85)
    return assets.write("viewer/preview.jpg", sink.getvalue())
