"""Content of an atlas out of a few rows, and what is written of it."""

import uuid

import numpy as np
import pandas as pd

from pipeline.atlas.assets import Assets
from pipeline.atlas.documents.content import COLUMNS, Content, Layer
from pipeline.atlas.drawn import Drawn
from pipeline.atlas.sheets import SPRITE_CELLS, Layout
from pipeline.config import LayerSpec, RunSpec
from pipeline.core.field import ReceptiveField
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.store import Store

SIDES = ("top", "left", "bottom", "right")


def layer(winners, maps=3, name="conv1", active=None, projected=None, ranks=9):
    """A layer with these winners: (map, rank, sample, label, class name)."""
    columns = ["feature_map", "rank", "sample", "label", "class_name"]
    frame = pd.DataFrame(winners, columns=columns)
    frame["activation"], frame["y"], frame["x"] = 12.345678 / (1 + frame["rank"]), 3, 5
    frame["key"] = [f"{sample}.jpg" for sample in frame["sample"]]
    for number, side in enumerate(SIDES):
        frame[side], frame[f"source_{side}"] = number, number + 0.6
    stats = pd.DataFrame(
        {"feature_map": range(maps), "images": 7, "layer": name, "certified": True}
    )
    if active is None:
        active = np.isin(np.arange(maps), frame["feature_map"]) * 3
    stats = stats.assign(layer=name, active=active, max=12345.678, mean=0.5, std=float("nan"))
    stats["selectivity"], stats["common_ancestor"] = float("nan"), None
    projected = range(maps) if projected is None else projected
    live = set(frame["feature_map"])
    pages = [
        Drawn(
            {},
            {m: {"projections": f"{name}/{m}.avif"} for m in some if m in projected and m in live},
            {"projections-small": f"{name}/small-{some[0]}.webp"},
        )
        for some in (range(at, min(at + SPRITE_CELLS, maps)) for at in range(0, maps, SPRITE_CELLS))
    ]
    field = ReceptiveField((11, 11), (4, 4), (-2, -2))
    spec = LayerSpec(name=name, maps=maps, size=(55, 55), receptive_field=field)
    ranks_of = dict.fromkeys(sorted(live & set(projected)), ranks)
    return Layer(spec, stats, frame[COLUMNS], ranks_of, pages, Layout.of(9, 11, (224, 224)))


def content(*layers, spec=None, **how):
    """All of it; the run's names are nobody's business."""
    spec = spec or RunSpec(
        net="alexnet", weights="/home/me/w.pth", weights_digest="0" * 64, classes=2,
        preprocessing=Preprocessing(resize=256, crop=224), layers=(), top_k=9, precision="exact",
        data="s3://k:s@b/x?sig=1", format="webdataset", fingerprint="f", versions={"torch": "2"},
    )  # fmt: skip
    return Content(spec, layers, **how)


def assets():
    """A place to write to."""
    return Assets(Store(f"memory://{uuid.uuid4().hex}"))
