"""A run by machines that are not alike: the second one of these tests has fewer instructions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline import schema
from pipeline.atlas.documents.root import root
from pipeline.cli.app import run_app
from pipeline.config import Machine, MinedBy, versions
from pipeline.data.demo.images import shard_bytes
from pipeline.data.formats.dataset import open_dataset
from pipeline.data.jpeg import jpeg_decoder
from pipeline.data.machines import this_machine, unlike
from pipeline.run import open_run
from tests.atlas.documents.made import content, layer
from tests.data.without_ray import in_this_process

ELSEWHERE = """
import sys

import pytest

from pipeline.cli.app import run_app
from tests.data.without_ray import in_this_process

in_this_process(pytest.MonkeyPatch())
sys.exit(run_app(sys.argv[1:]))
"""


def mining(folder: Path, *more: str) -> list[str]:
    return ["mine", str(folder / "data"), "--run", str(folder / "run"), "--net", "demo",
            "--layers", "conv1", "--top-k", "2", "--class-names", "net", *more]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data of two parts."""
    in_this_process(monkeypatch)
    (tmp_path / "data").mkdir()
    for shard in range(2):
        data = shard_bytes(range(3 * shard, 3 * shard + 3))
        (tmp_path / "data" / f"{shard}.tar").write_bytes(data)
    return tmp_path


@pytest.fixture
def mixed(folder: Path) -> Path:
    """The first part is done, by a machine with fewer instructions."""
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    subprocess.run([sys.executable, "-c", ELSEWHERE, *mining(folder)], env=environment, check=True)
    for name in ("feature_maps.parquet", heaps(folder)[1]):
        (folder / "run" / name).unlink()
    return folder


def heaps(folder: Path) -> list[str]:
    """The heap file of each part."""
    parts = open_dataset(str(folder / "data")).parts()
    return [schema.heap_name(part.name) for part in parts]


def made(folder: Path) -> dict[str, str]:
    """What the atlas says of it."""
    spec = open_run(folder / "run").spec
    return dict(root(content(layer([(0, 1, 0, None, None)]), spec=spec), [], {})["about"])


def test_a_run_says_who_mined_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(mining(folder, "--same-machines")) == 0
    assert "unlike" not in capsys.readouterr().out
    (mined_by,) = open_run(folder / "run").spec.machines
    assert (mined_by.parts, mined_by.first) == (2, heaps(folder)[0])
    machine = mined_by.machine
    assert machine == this_machine(torch.device("cpu"))
    assert machine.device.startswith("cpu (")
    assert machine.instructions == torch.backends.cpu.get_cpu_capability()
    assert machine.decoder == str(jpeg_decoder())
    assert machine.versions == versions()
    assert machine.instructions in made(folder)["Machine"]


def test_whose_code_resizes_belongs_to_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(mining(folder, "--resize", "pillow")) == 0
    run = open_run(folder / "run")
    assert run.spec.preprocessing.kernel == run.net.preprocessing.kernel == "pillow"
    assert run_app(mining(folder)) == 2
    assert "its resize is pillow, not the usual; name" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_every_file_of_stage_1_says_it(folder: Path, precision: str) -> None:
    assert run_app(mining(folder, "--precision", precision)) == 0
    run = open_run(folder / "run")
    files = [*run.store.list("heaps"), *run.store.list("screen")]
    assert run.spec.machines[0].parts == len(files) >= 2


def test_unlike_machines_are_named(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(mining(mixed)) == 0
    own = torch.backends.cpu.get_cpu_capability()
    said = " ".join(capsys.readouterr().out.split())
    what = (
        f"1 part from {heaps(mixed)[0]} on: instructions DEFAULT; "
        f"1 part from {heaps(mixed)[1]} on: instructions {own}"
    )
    assert f"Mined by unlike machines: {what}." in said
    assert made(mixed)["Unlike machines"].startswith(what)


def test_unlike_machines_are_refused(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # as the second one's first part comes in, and when all is there
        assert run_app(mining(mixed, "--same-machines")) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"was mined by unlike machines (1 part from {heaps(mixed)[0]} on: " in said
        assert said.endswith("give workers of the other alone.")
        assert not (mixed / "run" / "feature_maps.parquet").exists()
    (mixed / "run" / heaps(mixed)[0]).unlink()
    assert run_app(mining(mixed, "--same-machines")) == 0
    (mined_by,) = open_run(mixed / "run").spec.machines
    assert mined_by.parts == 2


def test_slow_decoding_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(mining(folder)) == 0
    place = folder / "run" / "run.json"
    spec = json.loads(place.read_text())
    spec["machines"][0]["machine"]["decoder"] = "pillow 12.0.0"
    place.write_text(json.dumps(spec))
    capsys.readouterr()
    assert run_app(mining(folder)) == 0
    assert "JPEGs of 2 parts were decoded by Pillow" in capsys.readouterr().out


def test_what_differs_in_words() -> None:
    one = Machine(device="cpu (a)", instructions="AVX2", decoder="d 1", versions={"torch": "2.6"})
    new = one.model_copy(update={"versions": {"torch": "2.14", "extra": "1"}})
    both = [MinedBy(machine=one, parts=1, first="p0"), MinedBy(machine=new, parts=3, first="p1")]
    assert unlike(both[:1]) is unlike([]) is None
    assert unlike(both) == (
        "1 part from p0 on: torch 2.6, extra unknown; 3 parts from p1 on: torch 2.14, extra 1"
    )
