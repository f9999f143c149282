"""Where activations stand, against all activations held in memory."""

from pathlib import Path

import pytest

from pipeline import schema
from pipeline.data.stored.standing import Standing
from pipeline.errors import RequestError
from tests.stages import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT = 40


def test_the_share_is_that_of_all_images_to_a_bucket(tmp_path: Path) -> None:
    tiny.write(tmp_path / "pictures", COUNT)
    run = tiny.mined(tiny.opened(tmp_path / "pictures"), 3)
    standing = Standing(run, ["first", "second"])
    seen = 0
    for layer, maps in tiny.Everything.of(tiny.module(), COUNT).maps.items():
        peaks = maps.reshape(*maps.shape[:2], -1).max(2).clip(0)
        for feature_map, of_map in enumerate(peaks.T):
            before = 0.0
            for value in sorted({0.0, 0.3, *of_map.tolist(), *(of_map + 0.5).tolist(), 1e9}):
                share = standing.share_below(layer, feature_map, value)
                assert before <= share <= 1
                before = share
                if value > 0:
                    assert share >= (of_map < value * (1 - 1 / 16)).mean()
                    assert share <= (of_map <= value * (1 + 1 / 16)).mean()
                    seen += 0 < share < 1
            assert before == 1
            assert standing.share_below(layer, feature_map, 0.0) == 0
    assert seen > 20


def test_a_run_that_does_not_tell_is_a_sentence(tmp_path: Path) -> None:
    tiny.write(tmp_path / "pictures", 5)
    run = tiny.mined(tiny.opened(tmp_path / "pictures"), 3)
    for name in list(run.list(schema.DISTRIBUTIONS)):
        run.remove(name)
    with pytest.raises(RequestError, match="mined by an earlier version"):
        Standing(run, ["first"])
