import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torchvision.datasets.folder import IMG_EXTENSIONS

from pipeline.data.class_names import ClassNames
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.formats.folder import part_size
from pipeline.data.samples import Sample

Put = Callable[[str, dict[str, bytes]], str]


def read(dataset: Dataset) -> list[Sample]:
    return [sample for part in dataset.parts() for sample in dataset.read(part)]


def test_what_is_a_picture_goes_by_its_extension(place: str, put: Put) -> None:
    files = ["a.jpg", "b.JPEG", "c.Png", "d.webp", "e.txt", "f.gif", "g", "h.jpg.txt"]
    dataset = open_dataset(put(place, {name: name.encode() for name in files}))
    assert [sample.key for sample in read(dataset)] == ["a.jpg", "b.JPEG", "c.Png", "d.webp"]
    assert [sample.data for sample in read(dataset)] == [b"a.jpg", b"b.JPEG", b"c.Png", b"d.webp"]
    assert {sample.shard for sample in read(dataset)} == {dataset.url}


def test_pictures_are_those_of_torchvision(tmp_path: Path, put: Put) -> None:
    files = {f"kind/1{extension}": b"x" for extension in IMG_EXTENSIONS}
    dataset = open_dataset(put(str(tmp_path), files))
    assert [sample.key for sample in read(dataset)] == sorted(files)


def test_pictures_of_other_formats_are_counted(
    tmp_path: Path, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["a.jpg", "b.gif", "c.GIF", "d.heic", "e.txt"]
    open_dataset(put(str(tmp_path), dict.fromkeys(names, b"x")))
    assert "not read: 2 .gif, 1 .heic; convert them" in caplog.text


def test_classes_are_the_folders(place: str, put: Put) -> None:
    files = {"dog/2.jpg": b"x", "cat/1.jpg": b"x", "dog/deep/3.jpg": b"x", "note.txt": b"x"}
    assert [(s.key, s.label, s.class_name) for s in read(open_dataset(put(place, files)))] == [
        ("cat/1.jpg", 0, "cat"),
        ("dog/2.jpg", 1, "dog"),
        ("dog/deep/3.jpg", 1, "dog"),
    ]


def test_one_picture_beside_the_folders_and_there_are_no_classes(tmp_path: Path, put: Put) -> None:
    samples = read(open_dataset(put(str(tmp_path), {"dog/2.jpg": b"x", "1.jpg": b"x"})))
    assert [(s.label, s.class_name) for s in samples] == [(None, None)] * 2


def test_a_stray_picture_takes_no_labels_away(
    tmp_path: Path, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    files = ["cats/1.jpg", "cats/2.jpg", "dogs/1.jpg", "cats_3.jpg"]
    samples = read(open_dataset(put(str(tmp_path), dict.fromkeys(files, b"x"))))
    assert {s.key: (s.label, s.class_name) for s in samples} == {
        "cats/1.jpg": (0, "cats"),
        "cats/2.jpg": (0, "cats"),
        "cats_3.jpg": (None, None),
        "dogs/1.jpg": (1, "dogs"),
    }
    assert "1 picture lies beside the class folders" in caplog.text


def test_folders_without_pictures_are_no_classes(tmp_path: Path, put: Put) -> None:
    samples = read(open_dataset(put(str(tmp_path), {"a/notes.txt": b"x", "b/1.jpg": b"x"})))
    assert [(s.label, s.class_name) for s in samples] == [(0, "b")]


def test_wordnet_ids_from_the_users_file(tmp_path: Path, put: Put) -> None:
    names = ClassNames({3: "tench", 5: "hen"}, {"n01440764": 3, "n01514859": 5}, explicit=True)
    url = put(str(tmp_path), {"n01514859/1.jpg": b"x", "n01440764/2.jpg": b"x"})
    samples = read(open_dataset(url, class_names=names))
    assert [(s.label, s.class_name) for s in samples] == [(3, "tench"), (5, "hen")]


def test_wordnet_ids_that_file_names_start_with(tmp_path: Path, put: Put) -> None:
    names = ClassNames({3: "tench", 5: "hen"}, {"n01440764": 3, "n01514859": 5}, explicit=True)
    url = put(str(tmp_path), {"n01514859_1.jpg": b"x", "n01440764_2_b.jpg": b"x", "3.jpg": b"x"})
    samples = read(open_dataset(url, class_names=names))
    assert [(s.label, s.class_name) for s in samples] == [(None, None), (3, "tench"), (5, "hen")]


@pytest.mark.parametrize("count", [1, 31, 32, 33, 511, 512, 513, 5000, 50000, 1281167])
def test_parts_are_about_sixty_four_whole_batches(count: int) -> None:
    size = part_size(count)
    assert size % 32 == 0
    assert 64 <= size <= 4096
    assert math.ceil(count / size) <= 64 or size == 4096


def test_parts_cover_the_folder_in_order(tmp_path: Path, put: Put) -> None:
    names = [f"{number:04}.jpg" for number in range(700)]
    dataset = open_dataset(put(str(tmp_path), dict.fromkeys(names, b"x")))
    parts = dataset.parts()
    assert [len(part.keys) for part in parts] == [64] * 10 + [60]
    assert [part.name for part in parts] == [f"part-{number:05}" for number in range(11)]
    assert [sample.key for sample in read(dataset)] == names


def test_a_bucket_is_read_in_several_batches(s3: str, put: Put) -> None:
    files = {f"{number:04}.jpg": str(number).encode() for number in range(6100)}
    store = put("memory://many", files)
    dataset = open_dataset(store)
    assert len(dataset.parts()[0].keys) == 128  # more than one batch of requests
    assert [sample.data for sample in read(dataset)] == list(files.values())


def test_an_empty_file_is_a_sample(place: str, put: Put) -> None:
    (sample,) = read(open_dataset(put(place, {"a.jpg": b""})))
    assert sample.data == b""
    assert sample.problem is None


def test_files_that_cannot_be_read_do_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "a.jpg")  # to itself
    (tmp_path / "b.jpg").write_bytes(b"good")
    (tmp_path / "c.jpg").symlink_to(tmp_path / "nowhere")
    samples = read(open_dataset(str(tmp_path)))
    assert [sample.data for sample in samples] == [b"", b"good", b""]
    assert samples[0].problem == os.strerror(40)
    assert samples[1].problem is None
    assert samples[2].problem == "it is a link that leads nowhere"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.jpg").chmod(0)
    (sample,) = read(open_dataset(str(tmp_path)))
    assert sample.problem == "Permission denied"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).write_bytes(b"x")
    (sample,) = read(open_dataset(str(tmp_path)))
    assert sample.key == "caf?.jpg"
    assert sample.problem == "its name is not UTF-8"


def test_names_with_every_character(place: str, put: Put) -> None:
    names = sorted(["a b#1%20[x]{y,z}*.jpg", "été/naïve 日本.png", "q'\"&+=;.webp"])
    dataset = open_dataset(put(place, {name: name.encode() for name in names}))
    samples = read(dataset)
    assert [sample.key for sample in samples] == names
    assert [sample.data.decode() for sample in samples] == names
    assert [data.decode() for _, data in dataset.fetch(s.located for s in samples)] == names
