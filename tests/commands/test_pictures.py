"""What the commands on single pictures say, over a run that was made in this process."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipeline import schema
from pipeline.commands.pictures import explain_images, occlude_images
from pipeline.data.demo.images import draw, shard_bytes
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Store
from pipeline.data.weights.load import load_net
from pipeline.request import ExplainRequest, OccludeRequest
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from tests.stages import tiny

COARSE = {"occluder": 56, "stride": 56}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's net over four pictures whose labels are numbers."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "a.tar").write_bytes(shard_bytes(range(4)))
    weighted, dataset = load_net("demo"), open_dataset(f"{folder}/a.tar")
    run, (part,) = Store(folder / "run"), dataset.parts()
    own = {"weights": weighted.weights, "weights_digest": weighted.digest, "classes": 16}
    spec = tiny.spec_of(weighted.net, dataset, 2).model_copy(update=own)
    run.write(schema.RUN, spec.model_dump_json().encode())
    mine_part([Miner.exact(weighted.net)], dataset, part, [run], 2)
    merge(run, spec, [part.name])
    return run.url


def test_a_label_that_is_only_a_number_is_not_the_correct_class(
    run: str, caplog: pytest.LogCaptureFixture
) -> None:
    occlude_images(OccludeRequest(run=run, images=("0", "1"), **COARSE))
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("The label of 00000000.jpg (class ")
    assert "not known to be a class of demo" in said
    maps = pd.read_parquet(f"{run}/{schema.OCCLUSION_MAPS}")
    assert set(maps["class_from"]) == {"prediction"}
    assert maps["correct_class_name"].notna().all()  # the net's own classes have names
    occlude_images(OccludeRequest(run=run, images=("0",), label=3, **COARSE))
    assert len(caplog.records) == 1


def test_what_such_a_class_is_called(run: str) -> None:
    explain_images(ExplainRequest(run=run, images=("0",)))
    (table,) = Path(run, schema.EXPLAIN).glob("*.parquet")
    rows = pd.read_parquet(table)
    assert rows["label"].notna().all()
    assert rows["class_name"].isna().all()


@pytest.mark.parametrize("ask", [explain_images, occlude_images])
def test_ones_own_file_is_turned_upright(
    ask: Callable[[ExplainRequest | OccludeRequest], object],
    run: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same as if the picture had been stored upright; and it is said."""
    block = Image.Exif()
    block[0x0112] = 6
    image = draw(5).image.crop((0, 0, 90, 140))
    image.save(tmp_path / "upright.png")
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=block)
    for name in ("upright.png", "side.png"):
        asked: dict[str, object] = {"run": run, "images": (str(tmp_path / name),)}
        if ask is explain_images:
            ask(ExplainRequest(**asked))
        else:
            ask(OccludeRequest(**asked, **COARSE))
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("Turned upright, as the EXIF block says")
    assert said.endswith("side.png.")
    folder = schema.EXPLAIN if ask is explain_images else schema.OCCLUSION_MAPS
    tables = [pd.read_parquet(path) for path in Path(run, folder).glob("*.parquet")]
    one, other = (
        next(t for t in tables if t["image"][0].endswith(f"/{name}")).drop(columns="image")
        for name in ("upright.png", "side.png")
    )
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize(
    ("ask", "request_of", "folder", "width"),
    [
        (explain_images, ExplainRequest, schema.EXPLAIN, 183.0),
        (occlude_images, OccludeRequest, schema.OCCLUSION_FIGURES, 89.0),
    ],
)
def test_figures_for_a_journal(
    ask: Callable[[object], object],
    request_of: type[ExplainRequest] | type[OccludeRequest],
    folder: str,
    width: float,
    run: str,
) -> None:
    more = COARSE if request_of is OccludeRequest else {}
    ask(request_of(run=run, images=("2",), **more))
    before = set(Path(run, folder).iterdir())
    ask(request_of(run=run, images=("2",), width=width, svg=True, **more))
    made = set(Path(run, folder).iterdir()) - before
    assert {path.suffix for path in made} == {".png", ".pdf", ".svg"}  # beside the page's own
    if request_of is OccludeRequest:  # whose rows are there once
        maps = pd.read_parquet(f"{run}/{schema.OCCLUSION_MAPS}")
        assert not maps.duplicated(["image", "correct_class", "top", "left"]).any()
    (drawing,) = Path(run, folder).glob("*.svg")
    with Image.open(drawing.with_suffix(".png")) as opened:
        assert opened.width == pytest.approx(width * 12, abs=2)
    assert drawing.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in drawing.read_bytes()
