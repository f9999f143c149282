"""Data that needs a word said about it: said once to `mine`, known to what comes after."""

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import open_run
from pipeline.cli.app import run_app
from pipeline.data.store import Store
from tests.end_to_end.runs import command, finished


def mining(data: object, run: object, *more: object) -> list[object]:
    return ["mine", data, "--run", run, "--net", "demo", "--layers", "conv1", *more]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert run_app([str(argument) for argument in arguments]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_what_a_worker_says_of_the_data(tmp_path: Path, jpeg: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in {"1.jpg": jpeg, "2.jpg": jpeg, "1.cls": b"1", "2.cls": b"2"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, BytesIO(data))
    made = finished(*mining(tmp_path / "a.tar", tmp_path / "run"))
    assert made.returncode == 0
    assert "a.tar: 2 labels come after their pictures" in made.stderr


def test_columns_of_parquet(
    tmp_path: Path, jpeg: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = tmp_path / "data.parquet", tmp_path / "run"
    columns = {"image": [b"none"] * 2, "large": [jpeg] * 2, "kind": ["ant", "bee"]}
    pq.write_table(pa.table(columns), data)
    config = tmp_path / "mine.toml"
    config.write_text('image-column = "large"\nlabel-column = "kind"\n')
    command(*mining(data, run, "--config", config))
    command("project", "--run", run, "--rank-limit", 1)
    assert set(open_run(run).winners()["class_name"]) == {"ant", "bee"}
    said = refused(capsys, *mining(data, run))
    assert "its image column is large, not the usual" in said
    command(*mining(data, run, "--image-column", "large", "--label-column", "kind"))


def test_labels_of_a_file(tmp_path: Path, jpeg: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, labels = tmp_path / "data", tmp_path / "run", tmp_path / "labels.csv"
    data.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (data / name).write_bytes(jpeg)
    labels.write_text("b.jpg,7\na.jpg,ant\n")
    command(*mining(data, run, "--labels", labels))
    rows = open_run(run).winners()[["key", "label", "class_name"]].astype(object)
    said = set(rows.where(rows.notna(), None).itertuples(index=False, name=None))
    assert said <= {("a.jpg", None, "ant"), ("b.jpg", 7, None)}
    moved = labels.rename(tmp_path / "moved.csv")
    command(*mining(data, run, "--labels", moved))
    command("project", "--run", run, "--rank-limit", 1)
    assert "There is no file of labels" in refused(capsys, "explain", 0, "--run", run)
    labels.write_text("b.jpg,8\n")
    said = refused(capsys, *mining(data, run, "--labels", labels))
    assert said.startswith("The labels (--labels ")
    assert "is not what" in refused(capsys, "explain", 0, "--run", run)


def test_storage_options(
    bucket: str,
    tmp_path: Path,
    jpeg: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Store(bucket).write("photos/a.jpg", jpeg)
    options = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "key": "me", "secret": "not-to-see"}
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    config, run = tmp_path / "mine.toml", f"{bucket}/run"
    config.write_text("[storage-options]\n" + "".join(f"{k} = '{v}'\n" for k, v in options.items()))
    made = finished(*mining(f"{bucket}/photos", run, "--config", config))
    assert made.returncode == 0, made.stderr
    said = "--storage-options", json.dumps(options)
    for arguments in (
        ["show", run, "conv1"],
        ["explain", 0, "--run", run],
    ):
        again = finished(*arguments, *said)
        assert again.returncode == 0, again.stderr
    store = Store(bucket, options)
    for name in store.list("run"):
        assert b"not-to-see" not in store.read(name)
    assert {*open_run(run, options).winners()["key"]} == {"a.jpg"}
    wrong = refused(capsys, "show", run, "--storage-options", '{"secret": "not-to-see"')
    assert wrong == "--storage-options is a JSON object, as '{\"anon\": true}'."
