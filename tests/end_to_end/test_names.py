"""Names and paths of any signs through every command, into a log that knows ASCII alone."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

from pipeline.data.demo.images import draw
from tests.end_to_end.runs import command

LAYERS = ["a/b", "a%2Fb", "ü ?&=#'<b>"]
CLASSES = ["猫", "كلب", "a\tb", "x\ny", 'q"uo', "com,ma", "per%20cent", "<script>"]
KEY = "na,me %41#?.png"
DATA, RUN = "data, 100% #1 'q'", "run 50%, #2"

NET = f"""
from torch import nn
from pipeline.core.nets.preprocessing import Preprocessing


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        for name, maps in zip({LAYERS!r}, (3, 4, 4)):
            self.add_module(name, nn.Conv2d(maps, 4, 3, padding=1))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        for name in {LAYERS!r}:
            x = self.get_submodule(name)(x).relu()
        return self.head(x.mean((2, 3)))


def make():
    return Odd(), Preprocessing(40, 32, (0.5,) * 3, (0.25,) * 3)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "oddnet.py").write_text(NET, encoding="utf-8")
    for number, name in enumerate(CLASSES):
        (of_class := tmp_path / DATA / name).mkdir(parents=True)
        picture: Image.Image = draw(number).image
        picture.resize((60, 50)).save(of_class / KEY)
    return tmp_path


def test_names_of_any_signs(folder: Path, cluster: Cluster) -> None:
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1", "RAY_ADDRESS": cluster.address}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli.app", *arguments],
            cwd=folder, capture_output=True, timeout=240, check=False,
            env={**os.environ, **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        assert b"Traceback" not in done.stderr
        assert b"Warning" not in done.stderr
        return done.stdout.decode("ascii")

    one = ("--workers", "1")
    run("mine", DATA, "--run", RUN, "--net", "oddnet:make", "--weights", "random:0", *one)
    assert f"Next: deconv-atlas publish --run '{RUN}'" in run("project", "--run", RUN, *one)
    run("publish", "--run", RUN, *one)
    for table in ("winners", "projections"):
        rows = pd.read_parquet(folder / RUN / table)
        assert set(rows["layer"]) == set(LAYERS)
        assert set(rows["class_name"]) <= set(CLASSES)
        assert set(rows["key"]) <= {f"{name}/{KEY}" for name in CLASSES}
    for layer in LAYERS:
        command("show", folder / RUN, layer)
    assert "box in the picture" in run("show", RUN, LAYERS[2], "0")
    own = f"{DATA}/com,ma/{KEY}"
    assert run("explain", "0", f"猫/{KEY}", own, "--run", RUN, *one).count(".png") == 3
    small = ("--occluder", "16", "--stride", "16")
    asked = ("--images", "0", "--images", f"كلب/{KEY}", "--images", own)
    assert run("occlude", "--run", RUN, *asked, *small, *one).count(".png") == 3
    out = run("poster", "--run", RUN, *small, "--layers", "a/b,a%2Fb", "--out", "my, 1% #")
    assert "my, 1% #.png" in out
    assert (folder / "my, 1% #.pdf").is_file()
