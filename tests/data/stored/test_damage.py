"""Every file of a run, cut short, emptied and with flipped bits: one sentence, or the same rows."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import schema
from pipeline.atlas.publish import publish_pages, units
from pipeline.atlas.unit import publish_unit
from pipeline.cli.app import run_app
from pipeline.commands.project import _require_same_settings
from pipeline.data.store import Store
from pipeline.data.stored.heaps import read_parts
from pipeline.data.stored.named import find_pictures
from pipeline.data.stored.results import (
    read_all_winners,
    read_feature_maps,
    read_projections,
    read_skipped,
    read_spec,
    read_winners,
)
from pipeline.data.stored.tables import samples_in_part
from pipeline.errors import AtlasError, IncompleteError, RequestError
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from pipeline.stages.project import ProjectSettings
from pipeline.stages.waiting import waiting
from tests.stages import tiny
from tests.stages.projected import project

LAYERS = list(tiny.NAMES.values())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny net: mined, merged, projected."""
    folder = tmp_path_factory.mktemp("finished")
    tiny.write(folder / "pictures", 6)
    net, dataset = tiny.net_of(tiny.module()), tiny.opened(folder / "pictures")
    store, (part,) = Store(folder / "run"), dataset.parts()
    spec = tiny.spec_of(net, dataset, 2)
    store.write(schema.RUN, spec.model_dump_json(indent=2).encode())
    mine_part([Miner.exact(net)], dataset, part, [store], 2)
    merge(store, spec, [part.name])
    project(store, net, dataset, LAYERS)
    store.write(schema.PROJECTION_SETTINGS, b'{"unpooling":"sum","arrays":false}')
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def all_that_is_read(run: Path) -> list[Callable[[], Any]]:
    """What the commands read of a run."""
    store = Store(run)
    (heap,) = store.list(schema.HEAPS)
    return [
        lambda: read_spec(store),
        lambda: read_feature_maps(store),
        lambda: [read_winners(store, layer) for layer in LAYERS],
        lambda: read_all_winners(store, ["sample", "key", "label"]),
        lambda: pd.concat([read_projections(store, layer, range(4)) for layer in LAYERS]),
        lambda: read_skipped(store),
        lambda: list(read_parts(store, [heap])),
        lambda: samples_in_part(store, heap),
        lambda: len(waiting(store, LAYERS).blocks),
        lambda: _require_same_settings(store, ProjectSettings()),
    ]


def same(one: Any, other: Any) -> bool:
    return one.equals(other) if isinstance(one, pd.DataFrame) else bool(one == other)


def outcome(read: Callable[[], Any]) -> tuple[Any, str | None]:
    """What it returns, or the sentence with which it fails."""
    try:
        return read(), None
    except AtlasError as error:
        return None, str(error)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Cut short, of other bytes, or with a few bits flipped, which are near the end by half."""
    kind = dice.randrange(6)
    if kind == 0:
        return data[: dice.randrange(len(data))]
    if kind == 1:
        return dice.randbytes(len(data))
    changed = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        within = len(data) if kind < 4 else min(len(data), 3000)
        changed[-1 - dice.randrange(within)] ^= 1 << dice.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize(
    "kind", ["feature_maps.parquet", "winners", "projections", "heaps", "skipped"]
)
def test_a_damaged_table_is_one_sentence_or_reads_the_same(run: Path, kind: str) -> None:
    reads = all_that_is_read(run)
    right, dice = [read() for read in reads], random.Random(kind)
    files = [run / name for name in Store(run).list() if name.startswith(kind)]
    assert files
    said = 0
    for turn in range(120):
        file = files[turn % len(files)]
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, dice) if turn else b"")
        for read, expected in zip(reads, right, strict=True):
            found, sentence = outcome(read)
            assert same(found, expected) if sentence is None else str(file) in sentence
            said += sentence is not None
        file.write_bytes(whole)
    assert said > 90


@pytest.mark.parametrize("name", [schema.RUN, schema.PROJECTION_SETTINGS])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"a": 1}', b"null"])
def test_damaged_json_is_one_sentence(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    said = [sentence for read in all_that_is_read(run) if (sentence := outcome(read)[1])]
    assert said
    assert all(f"{run}/{name}" in sentence for sentence in said)


@pytest.mark.parametrize("file", ["winners/layer=first/part-0.parquet", "feature_maps.parquet"])
def test_the_command_says_it_and_the_remedy_works(
    run: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    right = pd.read_parquet(run / file)
    (run / file).write_bytes((run / file).read_bytes()[:-9])
    assert run_app(["show", str(run), "first"]) == IncompleteError.exit_code
    said = capsys.readouterr().err
    assert f"{run}/{file} is damaged" in said
    assert f"remove {run}/feature_maps.parquet and give the same `deconv-atlas mine`" in said
    (run / "feature_maps.parquet").unlink()
    store = Store(run)
    merge(store, read_spec(store), [Path(name).stem for name in store.list(schema.HEAPS)])
    pd.testing.assert_frame_equal(pd.read_parquet(run / file), right)


def test_publishing_damaged_projections_is_one_sentence(run: Path, tmp_path: Path) -> None:
    store, dest = Store(run), Store(tmp_path / "atlas")
    unit = next(unit for unit in units(store, dest) if unit.layer == "second")
    (file,) = store.list(schema.projections_folder("second"))
    whole = (run / file).read_bytes()
    (run / file).write_bytes(whole[:200] + bytes(300) + whole[500:])
    with pytest.raises(IncompleteError, match=r"damaged.*deconv-atlas project"):
        publish_unit(store, dest, unit)
    (run / file).write_bytes(whole[:-20])
    with pytest.raises(IncompleteError, match="damaged"):
        publish_pages(store, dest)


def test_winners_that_are_gone_are_not_a_run_that_is_not_mined(run: Path) -> None:
    (run / schema.winners_name("first")).unlink()
    with pytest.raises(IncompleteError, match=r"part-0.parquet is gone; remove .*feature_maps"):
        read_winners(Store(run), "first")


def test_a_table_of_another_kind_is_named(run: Path, tmp_path: Path) -> None:
    tiny.write(pictures := tmp_path / "pictures", 6)
    shutil.copy(run / schema.FEATURE_MAPS, run / schema.winners_name("first"))
    with pytest.raises(IncompleteError, match="it has no column rank"):
        read_winners(Store(run), "first")
    store = Store(run)
    with pytest.raises(IncompleteError, match="damaged"):
        find_pictures(["0"], store, tiny.opened(pictures))


def test_pandas_reads_what_was_skipped_where_nothing_was(run: Path) -> None:
    skipped = pd.read_parquet(run / "skipped")
    assert skipped.empty
    assert list(skipped.columns) == schema.SKIPPED_SAMPLE.names
    assert read_skipped(Store(run)).empty


def test_a_run_that_is_a_folder_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / schema.RUN).mkdir()
    with pytest.raises(RequestError, match=r"run\.json cannot be read"):
        read_spec(Store(tmp_path))
