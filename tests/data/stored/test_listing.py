"""The list of a dataset's files that a run keeps."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import schema
from pipeline.commands.project import dataset_of
from pipeline.config import RunSpec
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.samples import Sample
from pipeline.data.store import Store
from pipeline.data.stored.listing import keep_listing, kept_listing
from pipeline.errors import IncompleteError, MissingDataError, RequestError
from pipeline.run import Run
from tests.stages import tiny


def samples(dataset: Dataset) -> list[Sample]:
    return [sample for part in dataset.parts() for sample in dataset.read(part)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    tiny.write(tmp_path / "pictures", 6)
    return tmp_path / "pictures"


@pytest.fixture
def run(pictures: Path, tmp_path: Path) -> Store:
    store, dataset = Store(tmp_path / "run"), open_dataset(str(pictures))
    spec = tiny.spec_of(tiny.net_of(tiny.module()), dataset, 2)
    keep_listing(store, dataset)
    store.write(schema.RUN, spec.model_dump_json().encode())
    return store


def test_what_has_come_since_is_no_part_of_the_run(run: Store, pictures: Path) -> None:
    before = samples(open_dataset(str(pictures)))
    (pictures / "00.png").write_bytes(b"new, and the first by its name")
    (pictures / "a folder").mkdir()
    (pictures / "a folder" / "1.png").write_bytes(b"new")
    assert samples(dataset_of(Run(run.url))) == before


def test_what_is_gone_is_named_when_it_is_needed(run: Store, pictures: Path) -> None:
    dataset = dataset_of(Run(run.url))
    first, *others = samples(dataset)
    (pictures / first.key).unlink()
    assert len(list(dataset.fetch(each.located for each in others))) == len(others)
    with pytest.raises(MissingDataError, match=f"{first.key} is not found"):
        list(dataset.fetch([first.located]))


def test_nothing_is_asked_of_the_dataset(
    run: Store, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures.rename(pictures.with_name("away"))
    assert len(dataset_of(Run(run.url)).parts()) == 1
    run.remove(schema.LISTING)  # as in runs of other versions
    with pytest.raises(RequestError, match="does not exist"):
        dataset_of(Run(run.url))


def test_one_of_another_dataset_does_not_count(run: Store, pictures: Path) -> None:
    """As where an extension was interrupted."""
    spec = Run(run.url).spec
    assert kept_listing(run, spec) is not None
    other = RunSpec.model_validate(spec.model_dump() | {"fingerprint": "0" * 64})
    assert kept_listing(run, other) is None


def test_a_damaged_one_is_named(run: Store) -> None:
    whole = run.read(schema.LISTING)
    run.write(schema.LISTING, whole[: len(whole) // 2])
    with pytest.raises(IncompleteError, match=r"listing\.parquet is damaged.*listed again"):
        dataset_of(Run(run.url))


def test_no_signature_is_kept(run: Store, pictures: Path) -> None:
    opened = open_dataset(str(pictures))
    names = {f"{name}?sig=secret": size for name, size in opened.listing.files.items()}
    for place, is_kept in ((Store("http://localhost/pictures"), False), (Store(pictures), True)):
        listing = replace(opened.listing, store=place, files=names)
        other = run.at(f"{run.url}-{is_kept}")
        keep_listing(other, replace(opened, listing=listing))
        assert other.exists(schema.LISTING) == is_kept  # on a disk it is part of the name


def test_names_that_no_table_can_hold(run: Store, pictures: Path) -> None:
    (pictures / "\udcff.png").write_bytes(b"")
    dataset, other = open_dataset(str(pictures)), run.at(f"{run.url}-other")
    keep_listing(other, dataset)
    assert not other.exists(schema.LISTING)
