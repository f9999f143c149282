"""Labels in a file of their own, in every form that people have them."""

import io
import tarfile
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torchvision.models import AlexNet_Weights

from pipeline.data.class_names import ClassNames
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.labels import load_labels
from pipeline.errors import RequestError

NAMES = ["a.jpg", "b.jpg", "deep/c.jpg"]  # in the order of the dataset
LABELLED = [(4, None), (None, "bee"), (0, None)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    for name in NAMES:
        (data / name).write_bytes(b"x")
    return data


def written(folder: Path, content: bytes | str | pa.Table) -> str:
    path = folder.parent / "labels"
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def labels(data: Path, file: str, names: ClassNames | None = None) -> list[object]:
    dataset = open_dataset(str(data), labels=load_labels(file), class_names=names)
    samples = [sample for part in dataset.parts() for sample in dataset.read(part)]
    return [(sample.label, sample.class_name) for sample in samples]


@pytest.mark.parametrize(
    "content",
    [
        "4\nbee\n0\n",
        "label\n4\nbee\n0",
        "\ufeff4\r\nbee\r\n0\r\n",
        "a.jpg,4\nb.jpg,bee\ndeep/c.jpg,0\n",
        "name,label\nc,0\nb,bee\na,4\n",
        "label;file\n0;c.jpg\nbee;b.jpg\n4;a.jpg\n",
        'path,split,class\n"a.jpg",val,4\nb.jpg,val,"bee"\ndeep/c.jpg,val,0\nother.jpg,val,7',
        "a.jpg 4\nb.jpg bee\nc.jpg 0\n",
        "a.jpg\t4\nb.jpg\tbee\ndeep/c\t0\n",
        "2,0\n0,4\n1,bee\n",
        "position,label\n0,4.0\n1,bee\n2,0.0\n",
        pa.table({"label": ["4", "bee", "0"]}),
        pa.table({"position": [2, 1, 0], "label": ["0", "bee", "4"]}),
        pa.table({"width": [9, 9, 9], "image": NAMES, "label": ["4", "bee", "0"]}),
    ],
)
def test_forms(content: bytes | str | pa.Table, folder: Path) -> None:
    assert labels(folder, written(folder, content)) == LABELLED


def test_numbers_in_parquet(folder: Path) -> None:
    table = pa.table({"file": NAMES, "label": pa.array([4, None, 0], pa.float64())})
    assert labels(folder, written(folder, table)) == [(4, None), (None, None), (0, None)]


def test_digits_are_names_where_pictures_have_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("1.jpg", "2.jpg", "10.jpg"):
        (data / name).write_bytes(b"x")
    file = written(data, "1,5\n2,6\n10,7\n")
    assert labels(data, file) == [(5, None), (7, None), (6, None)]  # 1, 10, 2


def test_class_folders_give_way(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("cat/1.jpg", "dog/2.jpg"):
        (data / name).parent.mkdir(parents=True)
        (data / name).write_bytes(b"x")
    names = ClassNames.of(["tench", "goldfish", "shark"], explicit=True)
    assert labels(data, written(data, "2\n0\n"), names) == [(2, "shark"), (0, "tench")]


def test_members_of_a_tar(tmp_path: Path) -> None:
    data = tmp_path / "val.tar"
    with tarfile.open(data, "w") as archive:
        for name in ("val/b.jpg", "val/b.cls", "val/a.jpg"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    file = written(data, "a.jpg,1\nval/b.jpg,2\n")
    assert labels(data, file) == [(2, None), (1, None)]
    with pytest.raises(RequestError, match="in the order of the pictures, which a tar need not"):
        labels(data, written(data, "1\n2\n"))


def test_the_text_file_of_imagenets_devkit(tmp_path: Path) -> None:
    data = tmp_path / "val"
    data.mkdir()
    for number in (1, 2, 7):  # some of the pictures
        (data / f"ILSVRC2012_val_{number:08}.JPEG").write_bytes(b"x")
    file = written(data, "490\n361\n171\n822\n297\n482\n13\n704\n599\n164\n")
    names = ClassNames.of(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])
    assert labels(data, file, names) == [(65, "sea snake"), (970, "alp"), (334, "porcupine")]
    assert labels(data, file) == [(None, wnid) for wnid in ("n01751748", "n09193705", "n02346627")]


@pytest.mark.parametrize("number", ["0", "1001", "cat", "²", "-1"])
def test_a_number_that_the_devkit_has_not_is_named(tmp_path: Path, number: str) -> None:
    (tmp_path / "labels").write_text(f"490\n361\n171\n822\n297\n482\n13\n704\n599\n164\n{number}")
    with pytest.raises(RequestError, match=f"1 to 1000, not {number}"):
        load_labels(str(tmp_path / "labels"))


def test_the_devkits_order_has_every_class_once() -> None:
    text = files("pipeline.data").joinpath("ilsvrc2012.txt").read_text()
    order = list(map(int, text.split()))
    assert sorted(order) == list(range(1000))
    first = [278, 212, 250, 193]  # kit fox, English setter, Siberian husky, Australian terrier
    assert order[:4] == first
    assert order[-1] == 543  # dumbbell


def test_what_has_no_label_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = written(folder, "a.jpg,4\nelsewhere.jpg,1\n")
    assert labels(folder, file) == [(4, None), (None, None), (None, None)]
    assert "labels has no label for 2 pictures of part-00000." in caplog.text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "it is empty"),
        ("1\n2\n", "has 2 labels, one per line, for 3 pictures"),
        ("x.jpg,1\ny.jpg,2\n", "names none of the pictures: its first is x.jpg, theirs a.jpg"),
        ("0,1\n3,2\n", "a label for position 3, but there are 3 pictures, counted from 0"),
        ("a,b,c\nd,e,f\n", "it has 3 columns, and none that are called name and label"),
        ("name,label\na.jpg,1,2\n", "its row 2 has 3 columns, and the first 2"),
        ("a.jpg,1\na.jpg,2\n", "gives a.jpg two labels, 1 and 2"),
        ("name,label\na.jpg,\n", "it has no labels"),
        ("\xff".encode("latin-1"), "labels: .* codec can't decode"),
        (b"PAR1 and no more", "labels: "),
        (f"{'9' * 5000},1\n1,2\n", "names none of the pictures"),
    ],
)
def test_wrong_files(content: bytes | str, sentence: str, folder: Path) -> None:
    with pytest.raises(RequestError, match=sentence):
        labels(folder, written(folder, content))


@given(data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_refused_or_read(data: st.DataObject, folder: Path) -> None:
    stream = io.BytesIO()
    pq.write_table(pa.table({"name": NAMES, "label": [1, 2, 3]}), stream)
    whole = data.draw(st.sampled_from([stream.getvalue(), b'name,label\na.jpg,1\nb.jpg,"2"\n']))
    damaged = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=5)):
        damaged[at] = data.draw(st.integers(0, 255))
    with suppress(RequestError):
        labels(folder, written(folder, bytes(damaged)))


def test_no_file(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"no file of labels .*/none\.csv; check the path"):
        load_labels(str(folder / "none.csv"))


def test_a_name_of_several_pictures(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "c.jpg").write_bytes(b"x")
    with pytest.raises(RequestError, match=r"c\.jpg is the name of several pictures"):
        labels(folder, written(folder, "a.jpg,1\nc.jpg,2\n"))


def test_parquet_has_a_column_for_them(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "a.parquet")
    with pytest.raises(RequestError, match="name it with --label-column"):
        labels(tmp_path / "a.parquet", written(tmp_path / "x", "1\n"))
