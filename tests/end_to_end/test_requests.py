"""Wrong requests: an exit code, one sentence that says how to mend it, and nothing left behind."""

import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
import typer
from PIL import Image
from ray.cluster_utils import Cluster

from pipeline.cli.app import app, run_app
from pipeline.request import MineRequest
from tests.end_to_end.runs import Run, finished

Said = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command that is refused; the one sentence that it says."""

    def refuse(*arguments: object, code: int = 2) -> str:
        assert run_app([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if " -- " not in line]  # log lines
        assert len(lines) == 1, captured.err
        assert "Traceback" not in captured.err
        assert not set("│╭╰") & set(captured.err)
        assert lines[0].endswith((".", "?"))
        return lines[0]

    return refuse


@pytest.fixture
def photos(tmp_path: Path, jpeg: bytes) -> Path:
    """A folder with one picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(jpeg)
    return folder


def mining(data: object, run: object, *more: object) -> list[object]:
    return ["mine", data, "--run", run, "--net", "demo", "--layers", "conv1", *more]


# --- what the command line says ---------------------------------------------------------------


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["--version"]) == 0
    assert re.fullmatch(r"deconv-atlas \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_does_not_know_all_signs(encoding: str) -> None:
    for arguments in (["nets", "alexnet"], ["mine", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli.app", *arguments],
            env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=True,
        )  # fmt: skip
        assert done.stdout.decode(encoding).strip()


def test_a_picture_with_a_comma_in_its_name(
    undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tench, Tinca.jpg").write_bytes(b"no picture")
    for asked in (["tench, Tinca.jpg"], ["tench, Tinca.jpg", "--images", "0"]):
        sentence = said("occlude", "--run", undisturbed.url, "--images", *asked)
        assert sentence.startswith("tench, Tinca.jpg cannot be used")
    assert "no picture nowhere" in said(
        "occlude", "--run", undisturbed.url, "--images", "nowhere,0"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mine"], ["DATA", "deconv-atlas mine --help"]),
        (["mine", "x"], ["--run"]),
        (["mine", "x", "--run", "r", "--nope"], ["--nope"]),
        (["frobnicate"], ["frobnicate", "deconv-atlas --help"]),
        (["mine", "x", "--run", "r", "--top-k", "0"], ["--top-k", "1"]),
        (["mine", "x", "--run", "r", "--top-k", "many"], ["--top-k", "integer"]),
        (["mine", "x", "--run", "r", "--workers", "0"], ["--workers"]),
        (["mine", "x", "--run", "r", "--precision", "quick"], ["exact or fast", "'quick'"]),
        (
            ["mine", "x", "--run", "r", "--net", "demo", "--net", "alexnet", "--net", "demo"],
            ["one net twice", "demo, alexnet, demo"],
        ),
        (
            [
                *["mine", "x", "--run", "r", "--net", "demo", "--net", "alexnet"],
                *["--weights", "random:0", "--weights", "random:1", "--weights", "random:2"],
            ],
            ["3 --weights for 2 --net"],
        ),
        (
            ["mine", "x", "--run", "r", "--net", "demo", "--format", "zip"],
            ["--format", "webdataset"],
        ),
        (["mine", "nowhere", "--run", "r", "--net", "demo"], ["nowhere does not exist"]),
        (["mine", "x", "--run", "r", "--net", "alexnt"], ["did you mean alexnet", "resnet50"]),
        (
            ["mine", "x", "--run", "r", "--net", "demo", "--layers", "conv1,conf2"],
            ["conf2", "conv1, conv2, conv3"],
        ),
        (
            ["mine", "x", "--run", "r", "--net", "demo", "--weights", "no.pth"],
            ["no.pth", "random:SEED"],
        ),
        (
            ["mine", "x", "--run", "r", "--net", "demo", "--weights", "random:many"],
            ["random:many", "number"],
        ),
        (["mine", "x", "--run", "sftpp://r", "--net", "demo"], ["sftpp"]),
        (["mine", "x", "--run", "r", "--config", "no.toml"], ["no.toml"]),
        (["project", "--run", "r"], ["no run at r", "deconv-atlas mine"]),
        (["project", "--run", "r", "--unpooling", "mean"], ["sum or max"]),
        (["publish", "--run", "r"], ["no run at r"]),
        (["show", "r"], ["no run at r"]),
        (["serve", "r"], ["no atlas at r", "publish --run RUN"]),
        (["nets", "vgg99"], ["vgg99", "did you mean"]),
    ],
)
def test_a_wrong_request(
    arguments: list[str],
    words: list[str],
    said: Said,
    tmp_path: Path,
    jpeg: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "one.jpg").write_bytes(jpeg)
    sentence = said(*arguments)
    for word in words:
        assert word in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


COMMANDS = [
    str(command.callback.__name__) for command in app.registered_commands if command.callback
]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app([name, "--help"]) == 0
    assert f"Example: deconv-atlas {name}" in " ".join(capsys.readouterr().out.split())


def test_every_option_of_mine_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are fields of a request too."""
    mine = typer.main.get_command(app).commands["mine"]  # type: ignore[attr-defined]
    helps = {option.name: option.help for option in mine.params}
    assert set(helps) == {*MineRequest.model_fields, "config"}
    assert all(helps.values())
    assert run_app(["mine", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')} " in out for name in helps.keys() - {"data"})
    assert "1<=x<=32767" in out


def test_no_command_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_nets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["nets"]) == 0
    assert "squeezenet1_1" in capsys.readouterr().out
    assert run_app(["nets", "alexnet"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"conv5\s+256\s+13×13\s+163×163\s+16×16\s+-66, -66", out)


# --- the net ----------------------------------------------------------------------------------


def test_weights_that_do_not_fit(photos: Path, tmp_path: Path, said: Said) -> None:
    run = tmp_path / "run"
    wrong, text = tmp_path / "w.safetensors", tmp_path / "w.pth"
    safetensors.torch.save_file({"features.0.weight": torch.zeros(1)}, wrong)
    text.write_text("not weights")
    assert "features.0" in said(
        "mine", photos, "--run", run, "--net", "alexnet", "--weights", wrong
    )
    assert "w.pth" in said(*mining(photos, run, "--weights", text))
    whole = tmp_path / "whole.pth"
    torch.save(Image.new, whole)
    assert "more than tensors" in said(*mining(photos, run, "--weights", whole))
    assert not run.exists()


# --- the cluster ------------------------------------------------------------------------------


def test_more_workers_than_this_machine_holds(photos: Path, tmp_path: Path) -> None:
    done = finished(*mining(photos, tmp_path / "run", "--workers", 50, "--address", "local"))
    assert done.returncode == 2
    assert done.stderr.startswith("50 workers need a 1 CPU each")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_no_cluster_at_the_address(photos: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    done = finished(*mining(photos, tmp_path / "run", "--address", "127.0.0.1:1"))
    assert time.monotonic() - start < 30
    assert done.returncode == 2
    assert done.stderr.startswith("No Ray cluster answers at 127.0.0.1:1")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "more", [("--gpus", "required"), ("--memory-per-worker", "900TB"), ("--cpus-per-worker", 4000)]
)
def test_what_this_machine_lacks(more: tuple[object, ...], photos: Path, tmp_path: Path) -> None:
    done = finished(*mining(photos, tmp_path / "run", *more, "--address", "local"))
    assert done.returncode == 2
    assert done.stderr.startswith("This machine has no ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


# --- the data ---------------------------------------------------------------------------------


def bomb() -> bytes:
    """A PNG that says it is 50,000 × 50,000."""
    stream = BytesIO()
    Image.new("1", (8, 8)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[16:24] = (50_000).to_bytes(4) * 2
    return bytes(data)


def test_what_is_no_picture_is_skipped_and_counted(
    cluster: Cluster,
    photos: Path,
    jpeg: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (photos / "bomb.png").write_bytes(bomb())
    (photos / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (photos / "empty.jpg").touch()
    (photos / "text.jpg").write_text("no picture")
    run = Run(str(tmp_path / "run"))
    assert run_app([str(argument) for argument in mining(photos, run.url)]) == 0
    out = capsys.readouterr().out
    assert "1 images mined" in out
    assert "4 samples could not be used" in out
    skipped = run.skipped().set_index("key")["reason"]
    assert "decompression bomb" in skipped["bomb.png"]
    assert "damaged or cut short" in skipped["cut.jpg"]
    assert "empty" in skipped["empty.jpg"]
    assert "not a JPEG" in skipped["text.jpg"]
    assert (run.winners()["key"] == "one.jpg").all()
    for most, code in (("0", 1), ("3", 1), ("4", 0), ("0.79", 1), ("0.81", 0)):
        arguments = [*mining(photos, run.url), "--max-skipped", most]
        assert run_app([str(argument) for argument in arguments]) == code
        assert ("4 of 5 samples could not be used" in capsys.readouterr().err) is (code == 1)


def test_nothing_usable_at_all(
    cluster: Cluster, photos: Path, tmp_path: Path, said: Said, jpeg: bytes
) -> None:
    (photos / "one.jpg").write_bytes(jpeg[:500])
    sentence = said(*mining(photos, tmp_path / "run"))
    assert "No image of" in sentence
    assert "damaged or cut short" in sentence


def test_data_without_images(tmp_path: Path, said: Said) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no images" in said(*mining(empty, tmp_path / "run"))
    with tarfile.open(tmp_path / "notes.tar", "w") as tar:
        member = tarfile.TarInfo("note.txt")
        tar.addfile(member)
    assert "holds no picture" in said(*mining(tmp_path / "notes.tar", tmp_path / "run"))
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "table.parquet")
    assert "image" in said(*mining(tmp_path / "table.parquet", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_missing_bucket(service: str, tmp_path: Path, said: Said) -> None:
    assert "no-such-bucket" in said(*mining("s3://no-such-bucket/photos", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# --- the run ----------------------------------------------------------------------------------


def test_a_run_of_another_configuration(
    undisturbed: Run, tars: Path, photos: Path, said: Said
) -> None:
    assert "its top k is 3, not 4" in said(*undisturbed.mining(tars), "--top-k", 4)
    assert "layers" in said(*undisturbed.mining(tars), "--layers", "conv2")
    assert "weights" in said(*undisturbed.mining(tars), "--weights", "random:0")
    sentence = said(*undisturbed.mining(photos))
    assert "data" in sentence
    assert "name another --run" in sentence


def test_a_dataset_that_has_changed(
    cluster: Cluster, photos: Path, jpeg: bytes, tmp_path: Path, said: Said
) -> None:
    run = tmp_path / "run"
    assert run_app([str(argument) for argument in mining(photos, run)]) == 0
    (photos / "two.jpg").write_bytes(jpeg)
    sentence = said(*mining(photos, run))
    assert f"{photos} is not what {run} was mined from" in sentence
    assert "another --run" in sentence
    assert not re.search(r"[0-9a-f]{64}", sentence)
    assert run_app(["project", "--run", str(run)]) == 0  # it has nothing to do with what came


def test_stages_out_of_order(undisturbed: Run, tmp_path: Path, said: Said) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_bytes((Path(undisturbed.url) / "run.json").read_bytes())
    assert "is not mined to its end" in said("project", "--run", run, "--arrays")
    assert "not mined" in said("publish", "--run", run)
    assert "not mined" in said("show", run, "conv1")
    assert [path.name for path in run.iterdir()] == ["run.json"]
    (run / "run.json").write_text(json.dumps({"net": "demo"}))
    assert "cannot be read by this version" in said("show", run)


def test_publishing_before_projecting(undisturbed: Run, tmp_path: Path, said: Said) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "winners", "feature_maps.parquet"):
        (run / name).symlink_to(Path(undisturbed.url) / name)
    assert "no projections yet" in said("publish", "--run", run)
    assert not (run / "atlas").exists()


def test_projecting_in_another_way(undisturbed: Run, said: Said) -> None:
    assert "unpooling = sum, not max" in said(*undisturbed.projecting("--unpooling", "max"))
    assert "conv9" in said("project", "--run", undisturbed.url, "--layers", "conv9")


def test_show(undisturbed: Run, said: Said, capsys: pytest.CaptureFixture[str]) -> None:
    assert "it has conv1, conv3, conv5" in said("show", undisturbed.url, "conv2")
    assert "feature maps 0 to 63, not 64" in said("show", undisturbed.url, "conv5", 64)
    assert run_app(["show", undisturbed.url]) == 0
    assert re.search(r"conv5\s+64\s+\d+\s+\d+\s+\d+", capsys.readouterr().out)
    assert run_app(["show", undisturbed.url, "conv5"]) == 0
    assert run_app(["show", undisturbed.url, "conv5", "3"]) == 0
    assert ".jpg" in capsys.readouterr().out


# --- TOML -------------------------------------------------------------------------------------


def test_options_from_a_file(
    cluster: Cluster, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "job.toml"
    config.write_text(
        f'run = "{tmp_path}/run"\n'
        f'[mine]\ndata = "{photos}"\nnet = "demo"\nlayers = ["conv1", "conv2"]\ntop-k = 5\n'
        "[project]\nrank_limit = 1\narrays = true\n"
    )
    assert run_app(["mine", "--config", str(config), "--top-k", "2"]) == 0
    assert run_app(["project", "--config", str(config)]) == 0
    spec = json.loads((tmp_path / "run" / "run.json").read_text())
    assert spec["top_k"] == 2
    assert [layer["name"] for layer in spec["layers"]] == ["conv1", "conv2"]
    assert "projection_array" in Run(str(tmp_path / "run")).projections().columns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("net = ", ["is no TOML"]),
        ('[mine]\nnett = "demo"', ["'nett'", "did you mean net?"]),
        ('nett = "demo"', ["'nett'", "did you mean net?"]),
        ("[minne]\ntop_k = 1", ["'minne'", "did you mean mine?"]),
        ('mine = "x"', ["[mine]"]),
        ('data = "x"\nrun = "r"\ntop_k = "many"', ["job.toml: top_k is a whole number, not 'm"]),
        ('data = "x"\nrun = "r"\ntop-k = 2.7', ["job.toml: top_k is a whole number, not 2.7"]),
        ('data = "x"\nrun = "r"\ntop_k = true', ["job.toml: top_k is a whole number, not True"]),
        ('data = "x"\nrun = "r"\ntop_k = 0', ["job.toml: top_k", "1"]),
        ('data = "x"\nrun = "r"\nsame_machines = "no"', ["same_machines is true or false"]),
        ('data = "x"\nrun = "r"\nprecision = "quick"', ["job.toml: precision is exact or fast"]),
        ('data = "x"\nrun = "r"\nnet = ["demo", "demo"]', ["one net twice"]),
    ],
)
def test_a_wrong_file(text: str, words: list[str], tmp_path: Path, said: Said) -> None:
    config = tmp_path / "job.toml"
    config.write_text(text)
    sentence = said("mine", "--config", config)
    for word in words:
        assert word in sentence
