from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline import schema
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.labels import load_labels
from pipeline.data.pictures import read_picture
from pipeline.data.store import Store
from pipeline.data.stored import part_columns
from pipeline.data.stored.named import find_pictures
from pipeline.errors import RequestError

PREPROCESSING = Preprocessing(32, 32)
COUNT = 100


def colour(number: int) -> tuple[int, int, int]:
    return number, 2 * number, 255 - number


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in two classes, each in a colour of its own."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(COUNT):
        path = folder / ("crane" if number < 50 else "tench") / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((40, 50, 3), colour(number), np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def dataset(data: Path) -> Dataset:
    return open_dataset(str(data))


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run in which only sample 7 has won anything."""
    store = Store(tmp_path_factory.mktemp("run"))
    for part in dataset.parts():
        heap = part_columns.HEAP.with_metadata(
            {schema.SAMPLES_IN_PART: str(len(part.keys)).encode()}
        )
        store.write_table(schema.heap_name(part.name), heap.empty_table())
    row = {
        "sample": 7, "shard": dataset.url, "key": "crane/07.png", "label": 0,
        "class_name": "named by the run",
    }  # fmt: skip
    winners = pa.Table.from_pylist([row], schema.WINNER)
    store.write_table(schema.winners_name("conv1"), winners)
    store.write_table(schema.FEATURE_MAPS, schema.FEATURE_MAP.empty_table())
    return store


@pytest.mark.parametrize("word", ["7", "crane/07.png"])
def test_a_winner_is_found_by_number_and_key(run: Store, dataset: Dataset, word: str) -> None:
    (wanted,) = find_pictures([word], run, dataset)
    assert (wanted.sample, wanted.label, wanted.class_name) == (7, 0, "named by the run")
    picture = read_picture(wanted, PREPROCESSING, dataset)
    assert tuple(picture.pixels[16, 16]) == colour(7)
    assert picture.size == (40, 50)


@pytest.mark.parametrize("word", ["95", "tench/95.png"])
def test_so_is_a_sample_that_won_nothing(run: Store, dataset: Dataset, word: str) -> None:
    assert len(dataset.parts()) > 1
    (wanted,) = find_pictures([word], run, dataset)
    assert (wanted.name, wanted.sample, wanted.class_name) == ("tench/95.png", 95, "tench")
    picture = read_picture(wanted, PREPROCESSING, dataset)
    assert tuple(picture.pixels[0, 0]) == colour(95)


def test_its_label_is_that_of_a_file_of_labels(run: Store, data: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("tench/95.png,7\n")
    dataset = open_dataset(str(data), labels=load_labels(str(tmp_path / "labels.csv")))
    (wanted,) = find_pictures(["95"], run, dataset)
    assert (wanted.label, wanted.class_name) == (7, None)


def test_a_file_of_ones_own(run: Store, dataset: Dataset, data: Path) -> None:
    path = str(data / "crane" / "03.png")
    (wanted,) = find_pictures([path], run, dataset)
    assert wanted.sample is None
    assert tuple(read_picture(wanted, PREPROCESSING).pixels[0, 0]) == colour(3)


def test_a_url(data: Path) -> None:
    memory = Store("memory://pictures")
    memory.write("a.png", (data / "crane" / "05.png").read_bytes())
    picture = read_picture("memory://pictures/a.png", PREPROCESSING)
    assert tuple(picture.pixels[0, 0]) == colour(5)


@pytest.mark.parametrize(
    ("word", "why"),
    [("100", "no sample 100: the dataset has 100"), ("nowhere.jpg", "no picture nowhere.jpg")],
)
def test_what_is_nowhere(run: Store, dataset: Dataset, word: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        find_pictures([word], run, dataset)


def test_a_sample_of_a_run_that_is_not_mined_to_its_end(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is not mined to its end"):
        find_pictures(["95"], Store(tmp_path), dataset)


def test_a_file_here_that_is_called_like_a_sample(
    run: Store, dataset: Dataset, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = find_pictures(["7"], run, dataset)[0].name
    (tmp_path / key).parent.mkdir(exist_ok=True)
    (tmp_path / key).write_bytes((data / "crane" / "03.png").read_bytes())
    with pytest.raises(RequestError, match=f"a file here, and sample 7 of the run; give ./{key}"):
        find_pictures([key], run, dataset)
    (here,) = find_pictures([f"./{key}"], run, dataset)
    assert here.sample is None
    monkeypatch.chdir(data)  # where the file here is the sample itself
    assert find_pictures([key], run, dataset)[0].sample == 7


def test_a_file_here_that_is_called_like_a_sample_that_won_nothing(
    run: Store, dataset: Dataset, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tench").mkdir()
    (tmp_path / "tench" / "95.png").write_bytes((data / "crane" / "03.png").read_bytes())
    with pytest.raises(RequestError, match=r"a file here, and sample 95 of the run; give \./tench"):
        find_pictures(["tench/95.png"], run, dataset)
    monkeypatch.chdir(data)
    assert find_pictures(["tench/95.png"], run, dataset)[0].sample == 95


@pytest.mark.parametrize(("number", "key"), [("7", "crane/07.png"), ("95", "tench/95.png")])
def test_a_file_here_whose_name_is_a_number(
    number: str,
    key: str,
    run: Store,
    dataset: Dataset,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (number, "1234"):
        (tmp_path / name).write_bytes((data / "crane" / "03.png").read_bytes())
    with pytest.raises(RequestError, match=rf"give \./{number} for the one, or {key} for the"):
        find_pictures([number], run, dataset)
    (here,) = find_pictures(["1234"], run, dataset)  # there is no such sample
    assert (here.name, here.sample) == ("1234", None)


def test_a_key_of_several_samples(run: Store, dataset: Dataset) -> None:
    row = {"shard": "b.tar", "key": "crane/07.png", "sample": 60}
    run.write_table("winners/layer=x/part-0.parquet", pa.Table.from_pylist([row], schema.WINNER))
    try:
        with pytest.raises(
            RequestError, match=r"called crane/07\.png; give the number .*: 7, 60\."
        ):
            find_pictures(["crane/07.png"], run, dataset)
    finally:
        run.fs.rm(run.path("winners/layer=x"), recursive=True)


def test_lists_with_commas_and_names_with_commas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data/tench, Tinca/1,2.png", "mine, own.png", "3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    dataset = open_dataset("data")
    run = Store(tmp_path / "run")
    (part,) = dataset.parts()
    heap = part_columns.HEAP.with_metadata({schema.SAMPLES_IN_PART: b"1"})
    run.write_table(schema.heap_name(part.name), heap.empty_table())
    run.write_table(schema.FEATURE_MAPS, schema.FEATURE_MAP.empty_table())

    def found(*asked: str) -> list[tuple[str, int | None]]:
        wanted = find_pictures(asked, run, dataset, lists=True)
        return [(picture.name, picture.sample) for picture in wanted]

    key, own, url = "tench, Tinca/1,2.png", "mine, own.png", "https://x/a,b.jpg"
    assert found(key, own) == [(key, 0), (own, None)]
    assert found("0, 3.png") == [(key, 0), ("3.png", None)]
    assert found(url) == [(url, None)]
    assert found("https://x/a.jpg,s3://b/c.jpg,0") == [
        ("https://x/a.jpg", None), ("s3://b/c.jpg", None), (key, 0)
    ]  # fmt: skip
    assert len(found(",".join(["0"] * 3000))) == 3000
    with pytest.raises(RequestError, match=r"no picture nowhere\.png"):
        found("3.png,nowhere.png")


@pytest.mark.parametrize("word", ["caf\udce9.png", "nowhere \udcff/a.png", str(10**30)])
def test_what_no_sample_can_be_called(run: Store, dataset: Dataset, word: str) -> None:
    with pytest.raises(RequestError, match="There is no"):
        find_pictures([word], run, dataset)
    with pytest.raises(RequestError, match="There is no"):
        find_pictures([f"{word},0"], run, dataset, lists=True)
