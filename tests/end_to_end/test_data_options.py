"""Data that needs a word said about it: said once to `mine`, known to what comes after."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import open_run
from pipeline.cli.app import run_app
from tests.end_to_end.runs import command


def mining(data: object, run: object, *more: object) -> list[object]:
    return ["mine", data, "--run", run, "--net", "demo", "--layers", "conv1", *more]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert run_app([str(argument) for argument in arguments]) == 2
    return " ".join(capsys.readouterr().err.split())


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
    assert "its image column is large, not None" in said
    command(*mining(data, run, "--image-column", "large", "--label-column", "kind"))
