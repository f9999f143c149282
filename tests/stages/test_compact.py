"""Projections put into files by feature map: after any end, and by several at once, the same."""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import schema
from pipeline.data.formats.dataset import Dataset
from pipeline.data.store import Store
from pipeline.data.stored import blocks
from pipeline.data.stored.results import all_blocks
from pipeline.errors import IncompleteError
from pipeline.stages import waiting as before
from pipeline.stages.compact import Compaction, clear, compact, compactions
from pipeline.stages.project import ProjectSettings, project_unit
from pipeline.stages.waiting import waiting
from tests.killed import KilledError, kill_after
from tests.stages import tiny
from tests.stages.projected import project

pytestmark = pytest.mark.usefixtures("one_thread", "small")

COUNT, TOP_K = 24, 6
LAYERS = ("first", "second")
Rows = dict[tuple[str, int, int], dict[str, object]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several units of work, and several blocks of a layer."""
    monkeypatch.setattr(before, "_IMAGES_IN_UNIT", 4)
    monkeypatch.setattr(blocks, "_ROWS", TOP_K + 1)
    monkeypatch.setattr(schema, "ROWS_READ", 3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("compact") / "pictures"
    tiny.write(folder, COUNT)
    return tiny.opened(folder)


@pytest.fixture
def run(dataset: Dataset) -> Store:
    """A run that has been mined."""
    return tiny.mined(dataset, TOP_K)


def rows_of(run: Store) -> Rows:
    """All projections, as whoever reads the folder finds them."""
    rows: Rows = {}
    for layer in LAYERS:
        for block in all_blocks(run, layer):
            for row in run.read_table(block.name).to_pylist():
                key = layer, row["feature_map"], row["rank"]
                assert key not in rows, "it is there twice"
                rows[key] = row
    return rows


def copied(run: Store) -> Store:
    other = Store(f"memory://{uuid.uuid4().hex}")
    for name in run.list():
        other.write(name, run.read(name))
    return other


def everything(run: Store, dataset: Dataset, rank_limit: int | None = None) -> int:
    return project(run, tiny.net_of(tiny.module()), dataset, LAYERS, rank_limit)


def test_files_are_in_order_and_nothing_else_is_left(run: Store, dataset: Dataset) -> None:
    everything(run, dataset)
    assert len(run.list(schema.PROJECTIONS)) > 3
    assert not run.list(schema.PROJECTED)
    for layer in LAYERS:
        for block in all_blocks(run, layer):
            rows = run.read_table(block.name)
            keys = list(zip(*(rows[k].to_pylist() for k in ("feature_map", "rank")), strict=True))
            assert keys == sorted(keys)
            assert block.has(rows).all()


def test_after_an_end_at_any_write_the_next_attempt_has_the_same(
    run: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer ranks first, so that files take the place of others."""
    right = copied(run)
    everything(right, dataset)
    everything(run, dataset, rank_limit=2)
    for steps in range(1000):
        other, ended = copied(run), True
        with monkeypatch.context() as patch:
            kill_after(steps, patch)
            try:
                everything(other, dataset)
            except KilledError:
                ended = False
        left = everything(other, dataset)
        assert rows_of(other) == rows_of(right)
        assert other.list().keys() == right.list().keys()
        if ended:
            assert left == 0
            break
    assert steps > 10


def driver(run: Store, dataset: Dataset, limit: int | None, layers: list[str]) -> Iterator[None]:
    """All that a command does, step by step; what is incomplete is begun again."""
    net = tiny.net_of(tiny.module())
    while True:
        todo = waiting(run, layers, limit)
        yield
        for unit in todo.units:
            project_unit(net, unit, dataset, run, ProjectSettings())
            yield
        works = compactions(run, todo.blocks)
        yield
        try:
            for work in works:
                compact(run, work)
                yield
        except IncompleteError:
            continue
        clear(run, layers)
        return


@pytest.mark.parametrize("seed", range(12))
def test_drivers_with_other_ranks_and_layers_at_once(
    run: Store, dataset: Dataset, seed: int
) -> None:
    """The tiny net's numbers are whole, so that they come out the same in any unit."""
    right = copied(run)
    everything(right, dataset)
    chance = random.Random(seed)
    drivers = [
        driver(run, dataset, chance.choice([None, 1, 2, 4]), chance.choice([["second"], [*LAYERS]]))
        for _ in range(3)
    ]
    while drivers:
        chosen = chance.choice(drivers)
        if next(chosen, ended := object()) is ended:
            drivers.remove(chosen)
    everything(run, dataset)
    assert rows_of(run) == rows_of(right)
    assert run.list().keys() == right.list().keys()


@pytest.mark.parametrize("ranks", [1, TOP_K])
def test_two_that_write_at_the_same_moment(
    run: Store, dataset: Dataset, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one does all its work after the other has looked, and before it writes."""
    net, write = tiny.net_of(tiny.module()), Store.write_table
    todo = {limit: waiting(run, LAYERS, limit) for limit in (1, TOP_K)}
    for unit in todo[TOP_K].units:
        project_unit(net, unit, dataset, run, ProjectSettings())
    ours = compactions(run, todo[ranks].blocks)[0]
    theirs = compactions(run, todo[1 + TOP_K - ranks].blocks)[0]

    def overtaken(store: Store, *arguments: object) -> None:
        monkeypatch.setattr(Store, "write_table", write)
        compact(run, theirs)
        write(store, *arguments)

    monkeypatch.setattr(Store, "write_table", overtaken)
    best = max(ours.block, theirs.block, key=lambda block: block.ranks)
    assert compact(run, ours) == best
    assert list(all_blocks(run, best.layer)) == [best]


def test_a_unit_whose_file_is_lost_is_named(run: Store) -> None:
    block = waiting(run, ["first"]).blocks[0]
    with pytest.raises(IncompleteError, match=r"winners of first are not projected; give the same"):
        compact(run, Compaction(block, ("projected/part-gone.parquet",)))


def test_files_of_another_version_are_named(run: Store, dataset: Dataset, tmp_path: Path) -> None:
    everything(run, dataset)
    (name, *_) = run.list(schema.PROJECTIONS)
    strange = name.rpartition("/")[0] + "/part-0.parquet"
    run.write(strange, run.read(name))
    with pytest.raises(IncompleteError, match=r"part-0\.parquet is damaged, or of another version"):
        everything(run, dataset)
