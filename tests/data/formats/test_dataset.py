"""What holds for every format, wherever it lies."""

import asyncio
import io
import pickle
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem
from s3fs.core import S3File

from pipeline.data.class_names import ClassNames
from pipeline.data.decoding import decode
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.samples import Located, Sample
from pipeline.data.store import Store
from pipeline.errors import IncompleteError, MissingDataError, RequestError, StoreError

Put = Callable[[str, dict[str, bytes]], str]
Write = Callable[[list[bytes]], dict[str, bytes]]

CLASSES = 4
PER_SHARD = 10
COUNT = 25


def as_folder(pictures: list[bytes]) -> dict[str, bytes]:
    return {
        f"class{number * CLASSES // len(pictures)}/{number:04}.JPG": picture
        for number, picture in enumerate(pictures)
    }


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def shards(pictures: list[bytes]) -> list[list[tuple[int, bytes]]]:
    numbered = list(enumerate(pictures))
    return [numbered[at : at + PER_SHARD] for at in range(0, len(numbered), PER_SHARD)]


def as_tars(pictures: list[bytes], mode: str = "w", suffix: str = "tar") -> dict[str, bytes]:
    files = {}
    for shard, numbered in enumerate(shards(pictures)):
        members = {}
        for number, picture in numbered:
            members[f"{number:04}.cls"] = str(number * CLASSES // len(pictures)).encode()
            members[f"{number:04}.jpg"] = picture
        files[f"train-{shard:04}.{suffix}"] = tar(members, mode)
    return files


def as_compressed_tars(pictures: list[bytes]) -> dict[str, bytes]:
    return as_tars(pictures, "w:gz", "tar.gz")


def as_parquet(pictures: list[bytes]) -> dict[str, bytes]:
    files = {}
    for shard, rows in enumerate(shards(pictures)):
        table = pa.table(
            {
                "image": [{"bytes": picture, "path": f"{number}.jpg"} for number, picture in rows],
                "label": [number * CLASSES // len(pictures) for number, _ in rows],
            }
        )
        stream = io.BytesIO()
        pq.write_table(table, stream, row_group_size=7)
        files[f"data/train-{shard:05}-of-00003.parquet"] = stream.getvalue()
    return files


FORMATS: dict[str, tuple[str, Write]] = {
    "folder": ("folder", as_folder),
    "tars": ("webdataset", as_tars),
    "compressed tars": ("webdataset", as_compressed_tars),
    "Parquet": ("parquet", as_parquet),
}


def read(dataset: Dataset) -> list[Sample]:
    return [sample for part in dataset.parts() for sample in dataset.read(part)]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_sample_comes_once_in_order(
    kind: str, place: str, put: Put, pictures: list[bytes]
) -> None:
    name, write = FORMATS[kind]
    dataset = open_dataset(put(place, write(pictures)))
    samples = read(dataset)
    assert dataset.format == name
    assert [sample.data for sample in samples] == pictures
    assert [sample.label for sample in samples] == [n * CLASSES // COUNT for n in range(COUNT)]
    assert not any(sample.problem for sample in samples)
    assert len({(sample.shard, sample.key) for sample in samples}) == len(samples)
    assert read(dataset) == samples


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("every", [1, 3, 10])
def test_some_samples_of_a_part(
    kind: str, every: int, place: str, put: Put, pictures: list[bytes]
) -> None:
    """What reading the whole part gives there; elsewhere too, where the dataset was sent."""
    dataset = open_dataset(put(place, FORMATS[kind][1](pictures)))
    for part in dataset.parts():
        samples = list(dataset.read(part))
        positions = list(range(len(samples) - 1, -1, -every))[::-1]
        expected = [(position, samples[position]) for position in positions]
        assert expected
        for copy in (dataset, pickle.loads(pickle.dumps(dataset))):
            assert list(copy.pick(part, positions)) == expected
        assert list(dataset.pick(part, [])) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_a_second_stage_elsewhere_gets_the_same_bytes(
    kind: str, place: str, put: Put, pictures: list[bytes]
) -> None:
    dataset = open_dataset(put(place, FORMATS[kind][1](pictures)))
    samples = {sample.located: sample.data for sample in read(dataset)}
    sent = pickle.dumps(dataset)
    assert len(sent) < 2000
    wanted = list(reversed(list(samples)))[::3]
    fetched = list(pickle.loads(sent).fetch([*wanted, *wanted]))
    assert len(fetched) == len(wanted)
    assert dict(fetched) == {located: samples[located] for located in wanted}


@pytest.mark.parametrize("kind", FORMATS)
def test_parts_travel_and_do_not_depend_on_who_asks(
    kind: str, place: str, put: Put, pictures: list[bytes]
) -> None:
    dataset = open_dataset(put(place, FORMATS[kind][1](pictures)))
    parts = dataset.parts()
    again: Dataset = pickle.loads(pickle.dumps(dataset))
    assert again == dataset
    assert len({part.name for part in parts}) == len(parts)
    last = pickle.loads(pickle.dumps(parts[-1]))
    assert list(again.read(last)) == list(dataset.read(parts[-1]))


@pytest.mark.parametrize("kind", FORMATS)
def test_names_from_the_user_and_not_from_the_net(
    kind: str, place: str, put: Put, pictures: list[bytes]
) -> None:
    """A label is only a number: that the net has a class 3 too does not name it."""
    url = put(place, FORMATS[kind][1](pictures))
    names = ClassNames(dict(enumerate(["ant", "bee", "cat", "dog"])), explicit=True)
    samples = read(open_dataset(url, class_names=names))
    assert [s.class_name for s in samples] == [names.names[s.label or 0] for s in samples]
    nets = ClassNames.of(list(names.names.values()))
    assert read(open_dataset(url, class_names=nets)) == read(open_dataset(url))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_fingerprint_is_of_the_content_not_of_the_place(
    kind: str, tmp_path: Path, s3: str, put: Put, pictures: list[bytes]
) -> None:
    files = FORMATS[kind][1](pictures)
    here = open_dataset(put(str(tmp_path / "a"), files))
    copied = open_dataset(put(f"{s3}/deep/below", files))
    assert here.fingerprint == copied.fingerprint
    assert len(here.fingerprint) == 64
    first = next(iter(files))
    renamed = {f"x{name}" if name == first else name: data for name, data in files.items()}
    longer = {name: data + b"\0" * (name == first) for name, data in files.items()}
    for number, changed in enumerate((renamed, longer)):
        other = open_dataset(put(str(tmp_path / f"other{number}"), changed))
        assert other.fingerprint != here.fingerprint


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_gone_is_a_problem_of_a_picture_and_a_failure_of_a_shard(
    kind: str, place: str, put: Put, pictures: list[bytes]
) -> None:
    files = FORMATS[kind][1](pictures)
    dataset = open_dataset(put(place, files))
    samples = read(dataset)
    store = Store(place)
    store.fs.rm(store.path(next(iter(files))))
    store.fs.invalidate_cache()
    with pytest.raises((FileNotFoundError, MissingDataError)):  # another machine may have it
        read(dataset)
    with pytest.raises(IncompleteError, match="same command again"):
        list(dataset.fetch([samples[0].located]))


@pytest.mark.parametrize("kind", FORMATS)
def test_another_file_in_place_of_the_listed_one(
    kind: str, place: str, put: Put, pictures: list[bytes]
) -> None:
    files = FORMATS[kind][1](pictures)
    dataset = open_dataset(put(place, files))
    name = next(iter(files))
    put(place, {name: files[name] + b"more"})
    with pytest.raises(MissingDataError, match="has changed since it was listed; put it back"):
        read(dataset)
    put(place, {name: files[name]})
    assert len(read(dataset)) == COUNT


@pytest.mark.parametrize("kind", ["tars", "Parquet"])
def test_a_shard_that_is_exchanged_while_it_is_read(
    kind: str, place: str, put: Put, pictures: list[bytes]
) -> None:
    """Whatever came of it by then: were it the same size, nothing else would tell."""
    files = FORMATS[kind][1](pictures)
    dataset = open_dataset(put(place, files))
    samples = dataset.read(dataset.parts()[0])
    next(samples)
    name = next(iter(files))
    put(place, {name: bytes(len(files[name]))})
    with pytest.raises(MissingDataError, match="has changed since it was listed; put it back"):
        list(samples)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_store_that_fails_is_no_bad_picture(
    kind: str, put: Put, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FORMATS[kind][1](pictures)
    dataset = open_dataset(put(f"memory://failing-{kind.replace(' ', '-')}", files))
    samples = read(dataset)

    def fail(*_: object, **__: object) -> None:
        raise TimeoutError("the store does not answer")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", fail)
    monkeypatch.setattr(MemoryFileSystem, "_open", fail)
    monkeypatch.setattr("pipeline.data.store.patience.OUTAGE", 0.0)
    with pytest.raises(StoreError, match="the store does not answer"):
        read(dataset)
    with pytest.raises(StoreError, match="the store does not answer"):
        list(dataset.fetch(sample.located for sample in samples))


@pytest.mark.parametrize("kind", FORMATS)
def test_memory_does_not_grow_with_the_dataset(kind: str, tmp_path: Path, put: Put) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.bytes(50_000) for _ in range(160)]
    peaks = []
    for count in (40, 160):
        dataset = open_dataset(put(str(tmp_path / str(count)), FORMATS[kind][1](pictures[:count])))
        arrow_before = pa.total_allocated_bytes()
        tracemalloc.start()
        arrow = [pa.total_allocated_bytes() for part in dataset.parts() for _ in dataset.read(part)]
        peaks.append(tracemalloc.get_traced_memory()[1] + max(arrow) - arrow_before)
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 3_000_000  # of 8 MB


# --- naming it --------------------------------------------------------------------------------


@pytest.fixture
def tars(place: str, put: Put, pictures: list[bytes]) -> str:
    return put(place, as_tars(pictures))


def test_one_shard(tars: str, pictures: list[bytes]) -> None:
    dataset = open_dataset(f"{tars}/train-0001.tar")
    assert [sample.data for sample in read(dataset)] == pictures[10:20]
    assert {sample.shard for sample in read(dataset)} == {f"{dataset.url}"}


def test_a_brace_range_counts_as_it_says(tars: str, pictures: list[bytes]) -> None:
    forwards = read(open_dataset(f"{tars}/train-{{0000..0002}}.tar"))
    assert [sample.data for sample in forwards] == pictures
    assert [sample.data for sample in read(open_dataset(f"{tars}/train-{{0002..0001}}.tar"))] == (
        pictures[20:] + pictures[10:20]
    )
    chosen = open_dataset(f"{tars}/{{train-0002,train-0000}}.tar")
    assert [sample.data for sample in read(chosen)] == pictures[20:] + pictures[:10]


def test_a_glob(tars: str, pictures: list[bytes]) -> None:
    assert [s.data for s in read(open_dataset(f"{tars}/train-*.tar"))] == pictures
    assert [s.data for s in read(open_dataset(f"{tars}/*[12].tar"))] == pictures[10:]


def test_every_way_of_naming_the_same_files_is_one_dataset(tars: str) -> None:
    ways = ["", "/", "/*.tar", "/train-{0000..0002}.tar"]
    assert len({open_dataset(f"{tars}{way}").fingerprint for way in ways}) == 1


def test_a_missing_member_of_a_range_is_named(tars: str) -> None:
    with pytest.raises(RequestError, match=r"train-0003\.tar does not exist, but"):
        open_dataset(f"{tars}/train-{{0001..0005}}.tar")


def test_patterns_that_match_nothing(tars: str) -> None:
    with pytest.raises(RequestError, match="matches no file"):
        open_dataset(f"{tars}/nothing-*.tar")
    with pytest.raises(RequestError, match=r"nothing-1\.tar does not exist"):
        open_dataset(f"{tars}/nothing-{{1..3}}.tar")


def test_a_missing_path(place: str) -> None:
    with pytest.raises(RequestError, match=r"nowhere does not exist; check"):
        open_dataset(f"{place}/nowhere")


def test_a_missing_bucket(s3: str) -> None:
    for url in ("s3://no-such-bucket-at-all", "s3://no-such-bucket-at-all/data"):
        with pytest.raises(RequestError, match="no-such-bucket-at-all"):
            open_dataset(url)


def test_a_bucket_without_the_right_to_it(
    s3: str, put: Put, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Forbidden")

    put(f"{s3}/data", as_tars(pictures))
    monkeypatch.setattr(S3FileSystem, "_cat_file", refuse)
    monkeypatch.setattr(S3File, "_fetch_range", lambda *_: asyncio.run(refuse()))
    with pytest.raises(RequestError, match="cannot be read: Forbidden; check the address"):
        open_dataset(f"{s3}/data")  # may be listed but not read
    monkeypatch.setattr(S3FileSystem, "_info", refuse)
    with pytest.raises(RequestError, match="cannot be read: Forbidden; check the address"):
        open_dataset(f"{s3}/data")


def test_paths_with_pattern_characters_that_exist(tmp_path: Path, pictures: list[bytes]) -> None:
    folder = tmp_path / "mine [old] {1,2}"
    folder.mkdir()
    (folder / "train{1..3}.tar").write_bytes(as_tars(pictures)["train-0000.tar"])
    assert len(read(open_dataset(str(folder)))) == 10
    assert len(read(open_dataset(str(folder / "train{1..3}.tar")))) == 10


def test_relative_paths_are_made_absolute(
    tmp_path: Path, put: Put, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(str(tmp_path / "here"), as_tars(pictures))
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset("here")
    assert dataset.url == str(tmp_path / "here")
    assert read(dataset)[0].shard == str(tmp_path / "here" / "train-0000.tar")
    assert open_dataset("here/train-*.tar").url == str(tmp_path / "here" / "train-*.tar")


# --- what it is -------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [{}, {"a.txt": b"x", "b/c.csv": b"y"}, {"README": b""}])
def test_nothing_usable(files: dict[str, bytes], tmp_path: Path, put: Put) -> None:
    put(str(tmp_path), files)
    with pytest.raises(RequestError, match="holds no images") as refusal:
        open_dataset(str(tmp_path))
    if "a.txt" in files:
        assert ".csv, .txt" in str(refusal.value)


@pytest.mark.parametrize("format", ["folder", "webdataset", "parquet"])
def test_nothing_of_the_format_asked_for(format: str, tmp_path: Path, put: Put) -> None:
    put(str(tmp_path), {"a.txt": b"x"})
    with pytest.raises(RequestError, match=r"holds no (pictures|tar|Parquet)"):
        open_dataset(str(tmp_path), format=format)


def test_two_formats_in_one_folder(tmp_path: Path, put: Put, pictures: list[bytes]) -> None:
    put(str(tmp_path), {**as_tars(pictures), "preview.png": pictures[0]})
    with pytest.raises(RequestError, match="--format folder or webdataset"):
        open_dataset(str(tmp_path))
    assert len(read(open_dataset(str(tmp_path), format="webdataset"))) == COUNT
    assert len(read(open_dataset(str(tmp_path), format="folder"))) == 1


def test_a_file_without_its_extension(tmp_path: Path, pictures: list[bytes]) -> None:
    path = tmp_path / "shard"
    path.write_bytes(as_tars(pictures)["train-0000.tar"])
    with pytest.raises(RequestError, match="--format"):
        open_dataset(str(path))
    assert len(read(open_dataset(str(path), format="webdataset"))) == 10


def test_photographs(photos_folder: Path, photos: dict[str, bytes]) -> None:
    dataset = open_dataset(str(photos_folder))
    samples = read(dataset)
    assert [sample.key for sample in samples] == sorted(photos)
    assert all(sample.data == photos[sample.key] for sample in samples)
    assert {(sample.label, sample.class_name) for sample in samples} == {(None, None)}
    assert decode(samples[0].data).shape[0] == 3
    wanted = [Located(dataset.url, name) for name in list(photos)[::50]]
    assert dict(dataset.fetch(wanted)) == {located: photos[located.key] for located in wanted}
