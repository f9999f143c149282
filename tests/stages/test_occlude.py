"""Occluding pictures: requests, rows, files, and what is known about generated objects."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.core.nets.known import Net
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.class_names import ClassNames
from pipeline.data.demo.images import CLASS_NAMES, draw
from pipeline.data.findings import Occluded, OccludeSettings
from pipeline.data.pictures import Picture, Wanted, read_picture
from pipeline.data.store import Store
from pipeline.data.stored.picture_columns import OCCLUSION
from pipeline.data.weights.load import load_net
from pipeline.errors import RequestError, WriteError
from pipeline.schema import OCCLUSION_MAPS
from pipeline.stages.occlude import (
    check,
    maps_name,
    occlude_picture,
    occlude_unit,
    prepare,
    to_table,
    units,
)
from tests.core.occlusion.pointing import Pointing, pointing, spearman

NAMES = ClassNames.of(CLASS_NAMES)
SAID = ClassNames.of(CLASS_NAMES, explicit=True)
COARSE = OccludeSettings(occluder=32, stride=16)


pytestmark = pytest.mark.usefixtures("one_thread_in_module")


@pytest.fixture(scope="module")
def net() -> Net:
    return load_net("demo").net


def generated(net: Net, index: int, *, labelled: bool = True) -> tuple[Picture, np.ndarray]:
    """A generated picture and the mask of its object, both as the net sees them."""
    drawn = draw(index, seed=7)
    picture = read_picture(drawn.image, net.preprocessing)
    if labelled:
        name = CLASS_NAMES[drawn.label]
        wanted = replace(picture.wanted, label=drawn.label, class_name=name)
        picture = replace(picture, wanted=wanted)
    return picture, prepared_mask(net.preprocessing, drawn.mask)


def prepared_mask(preprocessing: Preprocessing, mask: np.ndarray) -> np.ndarray:
    picture = torch.from_numpy(mask)[None].expand(3, -1, -1).to(torch.uint8) * 255
    return preprocessing.prepare(picture)[0].numpy() > 127


@pytest.fixture(scope="module")
def occluded(net: Net) -> Occluded:
    picture, _ = generated(net, 1)
    return occlude_picture(net, prepare(net, COARSE), picture, COARSE, NAMES)


def test_rows_say_what_happened_where(occluded: Occluded) -> None:
    table = to_table(occluded)
    assert table.schema == OCCLUSION
    frame = table.to_pandas()
    assert len(frame) == occluded.found.total.size
    for column, values in (
        ("probability", occluded.found.probability),
        ("total_activation", occluded.found.total),
        ("top_class", occluded.found.top_class),
    ):
        pivot = frame.pivot_table(index="top", columns="left", values=column)
        np.testing.assert_allclose(pivot.to_numpy(), values, rtol=1e-6)
        assert pivot.index.tolist() == occluded.found.tops.tolist()
    named = frame["top_class"].map(dict(enumerate(CLASS_NAMES)))
    assert (named == frame["top_class_name"]).all()
    assert set(frame["class_from"]) == {"label"}
    assert set(frame["colour"]) == {"mean"}


def test_the_maps_are_those_of_the_occluded_pictures(net: Net, occluded: Occluded) -> None:
    """Occlude the pixels themselves, before normalising; the demo's mean is not a whole grey."""
    settings = replace(COARSE, colour=(10, 200, 90))
    picture = occluded.picture
    found = occlude_picture(net, prepare(net, settings), picture, settings).found
    row, column = 2, 3
    pixels = picture.image.clone()
    top, left = found.tops[row], found.lefts[column]
    pixels[:, top : top + 32, left : left + 32] = torch.tensor([10, 200, 90])[:, None, None]
    assert net.module is not None
    with torch.no_grad():
        logits = net.module(net.preprocessing.normalise(pixels[None]))
    wanted = logits.softmax(1)[0, found.label]
    assert found.probability[row, column] == pytest.approx(float(wanted), rel=1e-4)
    assert found.top_class[row, column] == int(logits.argmax())


def test_where_the_correct_class_is_from(net: Net) -> None:
    plan = prepare(net, COARSE)
    picture, _ = generated(net, 1)
    label = picture.wanted.label
    assert label is not None
    unlabelled, _ = generated(net, 1, labelled=False)
    other = (label + 1) % 16
    # a dataset that counts other classes than the net
    strange = replace(picture, wanted=replace(picture.wanted, label=other, class_name="teapots"))
    number = replace(picture, wanted=replace(picture.wanted, label=other, class_name=None))
    for one, settings, names, wanted in (
        (picture, COARSE, NAMES, ("label", label)),
        (picture, replace(COARSE, label=other), NAMES, ("given", other)),
        (unlabelled, COARSE, NAMES, ("prediction", label)),
        (strange, COARSE, NAMES, ("prediction", label)),
        (number, COARSE, NAMES, ("prediction", label)),  # nothing says that it is the net's
        (number, COARSE, None, ("prediction", label)),
        (number, COARSE, SAID, ("label", other)),
    ):
        found = occlude_picture(net, plan, one, settings, names)
        assert (found.class_from, found.found.label) == wanted


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (OccludeSettings(occluder=113), "113 pixels does not fit the 112×112"),
        (OccludeSettings(occluder=0), "does not fit"),
        (OccludeSettings(stride=0), "stride of 0"),
        (OccludeSettings(layer="conv9"), "no layer 'conv9'; it has conv1, conv2"),
        (OccludeSettings(label=16), "label given is 16, but demo has classes 0 to 15"),
        (OccludeSettings(label=-1), "classes 0 to 15"),
        (OccludeSettings(colour=(0, 0, 256)), "0 to 255"),
    ],
)
def test_what_cannot_be_done_is_refused(net: Net, settings: OccludeSettings, words: str) -> None:
    with pytest.raises(RequestError, match=words) as refused:
        check(net, settings)
    assert str(refused.value).count(". ") == 0  # one sentence


def test_a_net_without_its_classifier_is_refused(net: Net) -> None:
    backbone = replace(net, classes=0, categories=None, module=None)
    with pytest.raises(RequestError, match=r"demo tells no classes apart .* give the whole net"):
        check(backbone, COARSE)


def test_a_label_of_the_dataset_that_the_net_does_not_have(net: Net) -> None:
    picture, _ = generated(net, 1, labelled=False)
    wanted = Wanted("cat.jpg", label=900)
    with pytest.raises(RequestError, match=r"label of cat.jpg is 900, but demo has classes 0"):
        occlude_picture(net, prepare(net, COARSE), replace(picture, wanted=wanted), COARSE, SAID)


def test_files_whole_or_not_at_all(net: Net, tmp_path: Path) -> None:
    for index in (1, 2):
        draw(index, seed=7).image.save(tmp_path / f"{index}.png")
    run = Store(tmp_path / "run")
    asked = [Wanted(str(tmp_path / f"{index}.png")) for index in (1, 2)]

    def draw_one(occluded: Occluded) -> dict[str, bytes]:
        return {"png": occluded.net.encode()}

    options = {"settings": COARSE, "names": NAMES, "draw": draw_one}
    (unit,) = units(run, [*asked, asked[0]], COARSE)
    assert unit == asked
    names, unusable, _ = occlude_unit(net, unit[:1], None, run, **options)
    assert not unusable
    table = maps_name(asked[0], COARSE)
    figure = table.replace("/maps/", "/figures/").replace(".parquet", ".png")
    assert names == [figure, table]
    assert units(run, asked, COARSE) == [asked[1:]]  # the rest
    assert units(run, asked, replace(COARSE, stride=20)) == [asked]  # another request
    occlude_unit(net, asked[1:], None, run, **options)
    assert units(run, asked, COARSE) == []
    frame = pd.read_parquet(run.path(OCCLUSION_MAPS))
    assert frame.groupby("image").size().tolist() == [36, 36]
    assert run.read(figure) == b"demo"


def test_a_failed_write_leaves_no_table(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(1, seed=7).image.save(tmp_path / "1.png")
    run, asked = Store(tmp_path / "run"), Wanted(str(tmp_path / "1.png"))
    (tmp_path / "run" / "occlusion").mkdir(parents=True)
    (tmp_path / "run" / OCCLUSION_MAPS).write_text("in the way of the folder")
    with pytest.raises(WriteError):
        occlude_unit(net, [asked], None, run, COARSE)


def test_pictures_that_cannot_be_used_spoil_nothing(net: Net, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    draw(1, seed=7).image.save(tmp_path / "1.png")
    asked = [Wanted(str(tmp_path / name)) for name in ("no.png", "1.png", "missing.png", "1.png")]
    asked[3] = replace(asked[3], label=900)
    made = occlude_unit(net, asked, None, Store(tmp_path), COARSE, SAID)
    assert made.stored == [maps_name(asked[1], COARSE)]
    assert len(made.unusable) == 3
    for reason, name in zip(made.unusable, ("no.png", "missing.png", "900"), strict=True):
        assert name in reason


# --- generated objects ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pointings(net: Net) -> pd.DataFrame:
    settings = OccludeSettings(occluder=27, stride=12)
    plan = prepare(net, settings)
    rows = []
    for index in range(3000, 3048):
        picture, mask = generated(net, index)
        found = occlude_picture(net, plan, picture, settings, NAMES)
        rows.append(asdict(pointing(found.found, 27, found.projection, mask)))
    return pd.DataFrame(rows)


def test_hiding_the_object_matters_and_hiding_anything_else_does_not(
    pointings: pd.DataFrame,
) -> None:
    mean = pointings.mean()
    assert mean["drop_on_object"] > 0.04
    assert mean["drop_on_object"] > 10 * abs(mean["drop_elsewhere"])
    assert mean["most_on_object"] > 0.2
    assert mean["most_elsewhere"] < 0.05


def test_occlusion_and_projection_point_at_the_object_and_agree(pointings: pd.DataFrame) -> None:
    mean = pointings.astype(float).mean()
    for name in ("occlusion_hits", "activation_hits", "projection_hits", "energy_inside"):
        assert mean[name] > 0.75 > 1.5 * mean["object_share"], name
    assert mean["agree"] > 3 * mean["agree_by_chance"]
    assert mean["correlation"] > 0.4


def test_pointing_by_hand(occluded: Occluded) -> None:
    """A drop at one place, an object and a projection under it."""
    found = replace(
        occluded.found, base_probability=0.9, base_total=10.0,
        probability=np.full_like(occluded.found.probability, 0.9),
        total=np.full_like(occluded.found.total, 10.0),
    )  # fmt: skip
    found.probability[1, 2], found.total[1, 2] = 0.1, 4.0
    mask, projection = np.zeros((112, 112), bool), np.zeros((3, 112, 112))
    mask[16:48, 32:64] = True  # exactly under the occluder at (1, 2)
    projection[1, 40, 60], projection[0, 100, 5] = -3.0, 1.0
    result = pointing(found, 32, projection, mask)
    assert result == Pointing(
        occlusion_hits=True, activation_hits=True, projection_hits=True, energy_inside=0.9,
        object_share=32 * 32 / 112**2, agree=True, agree_by_chance=4 / 36,
        correlation=result.correlation, drop_on_object=pytest.approx(0.8 / 5, rel=1e-6),
        drop_elsewhere=0.0, most_on_object=pytest.approx(0.8, rel=1e-6), most_elsewhere=0.0,
    )  # fmt: skip


def test_spearman_against_pandas() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 40).astype(float), rng.normal(size=40)
    wanted = pd.Series(a).rank().corr(pd.Series(b).rank())
    assert spearman(a, b) == pytest.approx(wanted, abs=1e-12)
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
