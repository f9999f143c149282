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
