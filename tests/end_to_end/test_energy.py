"""Where the projections' energy lies, on pictures whose object's place is known."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.demo.images import draw
from pipeline.run import open_run
from tests.end_to_end.runs import Run


def mask_of(sample: int, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """The object's mask, resized and cut as the picture is: crop × crop."""
    mask = torch.from_numpy(draw(sample).mask)
    picture = mask.to(torch.uint8).mul(255).expand(3, *mask.shape)
    return (preprocessing.prepare(picture)[0] > 127).numpy()


def test_the_top_layers_projections_lie_on_the_object(undisturbed: Run) -> None:
    preprocessing = open_run(undisturbed.url).spec.preprocessing
    projections = undisturbed.projections()
    top_layer = projections[projections["layer"] == "conv5"]
    shares = pd.DataFrame([shares_inside(row, preprocessing) for row in top_layer.itertuples()])
    means = shares.mean()
    print(f"{len(shares)} winners:", means.round(3).to_dict())
    # 0.84 of the energy on 0.60 of the pixels: more than three times as dense as beside the object
    assert odds(means["energy"]) > 2.5 * odds(means["area"])
    assert odds(means["energy"]) > 2 * odds(means["elsewhere"])
    assert (shares["energy"] > shares["area"]).mean() > 0.9


def odds(share: float) -> float:
    return share / (1 - share)


def shares_inside(row: Any, preprocessing: Preprocessing) -> dict[str, float]:
    """Of the projection's energy: what lies inside the mask, and inside that of another picture.

    The latter since both objects and energy prefer the middle; beside them the mask's share of
    the receptive field, the `area`.
    """
    top, left, bottom, right = (getattr(row, side) for side in ("top", "left", "bottom", "right"))
    shape = (3, bottom - top, right - left)
    energy = np.abs(np.frombuffer(row.projection_array, "<f4").reshape(shape)).sum(0)
    masks = (
        mask_of(sample, preprocessing)[top:bottom, left:right]
        for sample in (row.sample, row.sample + 1000)
    )
    inside, elsewhere = (float(energy[mask].sum() / energy.sum()) for mask in masks)
    area = float(mask_of(row.sample, preprocessing)[top:bottom, left:right].mean())
    return {"energy": inside, "elsewhere": elsewhere, "area": area}
