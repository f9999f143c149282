from pathlib import Path

import pytest

from pipeline.data.formats.files import expand_braces, list_files
from pipeline.errors import RequestError


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{0..2}", ["0", "1", "2"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{000000..000001}.tar", ["000000.tar", "000001.tar"]),
        ("{9..11}", ["9", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{0..8..2}", ["0", "2", "4", "6", "8"]),
        ("{08..00..3}", ["08", "05", "02"]),
        ("{b,a}-{0..1}", ["b-0", "b-1", "a-0", "a-1"]),
        ("{,x}y", ["y", "xy"]),
        ("{abc}", ["{abc}"]),
        ("{a..c}", ["{a..c}"]),
    ],
)
def test_braces_are_those_of_the_shell(pattern: str, names: list[str]) -> None:
    assert expand_braces(pattern) == names


@pytest.mark.parametrize("pattern", ["{0..99999999999}", "{0..9999}{0..9999}"])
def test_a_slip_of_the_finger_does_not_fill_the_memory(pattern: str) -> None:
    with pytest.raises(RequestError, match="more than 1000000"):
        expand_braces(pattern)


def test_the_bucket_is_no_pattern(s3: str) -> None:
    with pytest.raises(RequestError, match="bucket cannot be a pattern"):
        list_files("s3://bucket-{0..3}/train.tar")


def test_files_of_a_folder_in_order(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a/.hidden", ".git/x", "a-b", "a/y"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    assert list_files(str(tmp_path)).files == {"a-b": 5, "a/y": 5, "a/z": 5, "b": 5}


def test_links_are_followed_but_not_round_and_round(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    (elsewhere / "x.jpg").write_bytes(b"123")
    data = tmp_path / "data"
    (data / "c").mkdir(parents=True)
    (data / "a").symlink_to(elsewhere)
    (data / "b").symlink_to(elsewhere)
    (data / "c" / "y.jpg").symlink_to(elsewhere / "x.jpg")
    (elsewhere / "up").symlink_to(elsewhere)
    (data / "broken.jpg").symlink_to(tmp_path / "nowhere")
    assert list_files(str(data)).files == {
        "a/x.jpg": 3,
        "b/x.jpg": 3,
        "broken.jpg": 0,
        "c/y.jpg": 3,
    }


def test_a_link_to_the_dataset_itself_adds_nothing(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"x")
    (tmp_path / "cats" / "up").symlink_to("..", target_is_directory=True)
    assert list(list_files(str(tmp_path)).files) == ["cats/1.jpg", "dogs/1.jpg"]


def test_hidden_files_are_no_data_in_a_bucket_either(s3: str) -> None:
    import fsspec

    fs = fsspec.filesystem("s3")
    for name in ("a/.hidden/x.jpg", "a/._x.jpg", "a/x.jpg"):
        fs.pipe_file(f"{s3}/{name}", b"x")
    assert list_files(s3).files == {"a/x.jpg": 1}


def test_an_empty_object_named_like_the_folder(s3: str) -> None:
    import fsspec

    fs = fsspec.filesystem("s3")
    for name, data in (("photos", b""), ("photos/cat/1.jpg", b"x"), ("photos/dog/2.jpg", b"x")):
        fs.pipe_file(f"{s3}/{name}", data)
    for url in (f"{s3}/photos", f"{s3}/photos/"):
        assert list(list_files(url).files) == ["cat/1.jpg", "dog/2.jpg"]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_a_run_in_the_folder_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = ("run.json", "heaps/part-00000.parquet", "atlas/sheets/1.png")
    write(tmp_path, "1.jpg", "other/run.json", "other/2.jpg", *(f"run/{name}" for name in own))
    with caplog.at_level("INFO"):
        assert list(list_files(str(tmp_path)).files) == ["1.jpg", "other/2.jpg", "other/run.json"]
    assert "left out, since they are runs: run/" in caplog.text


def test_what_spark_and_hadoop_hide(tmp_path: Path) -> None:
    data = ("_DSC0001.jpg", "part-0.parquet")
    write(tmp_path, *data, "_SUCCESS", "_temporary/0/part-1.parquet", "_delta_log/1.parquet")
    assert sorted(list_files(str(tmp_path)).files) == sorted(data)


def test_tars_joined_by_colons(tmp_path: Path) -> None:
    write(tmp_path, "b/1.tar", "a/00.tar", "a/01.tar", "a/02.tar")
    listing = list_files(f"{tmp_path}/b/1.tar::{tmp_path}/a/{{00..02..2}}.tar")
    assert list(listing.files) == ["b/1.tar", "a/00.tar", "a/02.tar"]
    assert listing.shard("b/1.tar") == f"{tmp_path}/b/1.tar"
    assert list_files(listing.url).files == listing.files


def test_tars_joined_that_are_in_two_buckets(s3: str) -> None:
    import fsspec

    fs = fsspec.filesystem("s3")
    other = f"{s3}-other"
    fs.mkdir(other)
    for bucket in (s3, other):
        fs.pipe_file(f"{bucket}/1.tar", b"x")
    with pytest.raises(RequestError, match="must be in one bucket"):
        list_files(f"{s3}/1.tar::{other}/1.tar")
