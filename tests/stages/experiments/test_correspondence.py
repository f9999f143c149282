"""Parts hidden in tiny pictures: every activation is a whole number, so signs are certain."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data.object_parts import RANDOM, WHOLE, Parted
from pipeline.data.pictures import Wanted
from pipeline.errors import RequestError
from pipeline.stages.experiments.correspondence import Hiding, distances, hide_unit
from tests.stages import tiny

PARTS = {"eye": (1, 2, 4, 6), "nose": (6, 5, 9, 8), WHOLE: (0, 0, 11, 12)}


@pytest.fixture
def hidings(tmp_path: Path) -> list[Hiding]:
    keys = tiny.write(tmp_path / "pictures", 4)
    return [
        Hiding(Wanted(str(tmp_path / "pictures" / key)), Parted(key, PARTS), 2, seed=1)
        for key in keys
    ]


def test_distances_are_those_of_the_formula(hidings: list[Hiding]) -> None:
    net, module = tiny.net_of(tiny.module()), tiny.module()
    found = hide_unit(net, hidings, None)
    assert len(found) == 4 * (2 + 2)
    changes: dict[tuple[str, int, str], list[np.ndarray]] = {}
    for hidden in found:
        image = tiny.tensor(int(hidden.image.split(".")[0]))[None]
        top, left, bottom, right = hidden.box
        if hidden.part != RANDOM:
            assert hidden.box == PARTS[hidden.part]
        covered = image.clone()
        covered[..., top:bottom, left:right] = 0  # the mean of this preprocessing
        with torch.no_grad():
            for layer, depth in (("first", 2), ("second", 4)):
                change = (module[:depth](image) - module[:depth](covered)).numpy().ravel()
                changes.setdefault((hidden.part, hidden.draw, layer), []).append(np.sign(change))
    table = distances(net, found).to_pandas()
    assert len(table) == 2 * (2 + 2) * 6
    for (part, draw, layer), members in changes.items():
        wanted = [(one != other).mean() for one, other in combinations(members, 2)]
        rows = table[(table["part"] == part) & (table["layer"] == layer)]
        rows = rows[rows["draw"].isna() if part != RANDOM else rows["draw"] == draw]
        assert rows["distance"].tolist() == pytest.approx(wanted)
        assert max(wanted) > 0


def test_random_parts_lie_in_the_object_and_follow_from_the_seed(hidings: list[Hiding]) -> None:
    places = [list(hiding.places()) for hiding in hidings]
    assert places == [list(hiding.places()) for hiding in hidings]
    random = [box for of in places for part, _, box in of if part == RANDOM]
    assert len(set(random)) == 8
    for top, left, bottom, right in random:
        assert 0 <= top < bottom <= 11
        assert 0 <= left < right <= 12
        assert (bottom - top, right - left) == pytest.approx((3, 3.5))


def test_a_part_that_the_crop_leaves_out_is_refused(tmp_path: Path) -> None:
    tiny.write(tmp_path / "pictures", 1)
    wanted = Wanted(str(tmp_path / "pictures" / "000.png"))
    parted = Parted("000.png", {"ear": (-9.0, 0.0, -3.0, 4.0)})
    net = tiny.net_of(tiny.module())
    with pytest.raises(RequestError, match=r"ear of 000\.png is not in what tiny sees"):
        hide_unit(net, [Hiding(wanted, parted, 0, 0)], None)
