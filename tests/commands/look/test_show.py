"""Runs as tables; names of layers as people write them."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.dataset import partitioning

from pipeline import schema
from pipeline.atlas.documents.names import layer_folder
from pipeline.commands.look.show import shown
from pipeline.core.graph.trace import trace
from pipeline.core.nets.known import Net
from pipeline.data.store import Store
from pipeline.request import ShowRequest
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from pipeline.terminal import console, legible
from tests.stages import tiny
from tests.stages.projected import project

NAMES = {"0": "inception_3a/1x1", "3": "inception_3a/3x3 #1 100%?=é"}
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers that are called as Caffe calls GoogLeNet's, and pictures without classes."""
    folder = tmp_path_factory.mktemp("show")
    tiny.write(folder / "pictures", 6)
    graph = trace(tiny.module(), tiny.PREPARED.input_size, lambda path: NAMES.get(path, path))
    net, dataset = Net("tiny", graph, tiny.PREPARED, 0), tiny.opened(folder / "pictures")
    store, (part,) = Store(str(folder / "run")), dataset.parts()
    spec = tiny.spec_of(net, dataset, 2)
    store.write(schema.RUN, spec.model_dump_json().encode())
    mine_part([Miner.exact(net)], dataset, part, [store], 2)
    merge(store, spec, [part.name])
    project(store, net, dataset, list(NAMES.values()))
    return folder / "run"


def test_names_of_layers_come_back_as_they_are(run: Path) -> None:
    for what in ("winners", "projections"):
        rows = pd.read_parquet(run / what)
        assert set(rows["layer"]) == set(NAMES.values())
        assert len(list((run / what).iterdir())) == len(NAMES)
    counts = rows.groupby(["layer", "feature_map"], observed=True).size()
    assert counts.max() == 2


def test_names_that_need_no_quoting_stay() -> None:
    for name in ("conv1", "features.3.expand3x3", "layer2.0", "head@2", "a-b_c"):
        assert schema.quoted(name) == name
        assert layer_folder(name) == f"layers/{name}"
    assert layer_folder("a/b") == "layers/a%2Fb"


def test_tables_of_pictures_without_classes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = NAMES["3"]
    for table in (
        shown(ShowRequest(run=str(run))),
        shown(ShowRequest(run=str(run), layer=name)),
        shown(ShowRequest(run=str(run), layer=name, feature_map=0)),
    ):
        console().print(table)
    printed = capsys.readouterr().out
    assert name in printed
    assert "nan" not in printed
    assert ".png" in printed


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
        min_size=2,
        unique=True,
    )
)
def test_partitions_are_named_as_their_layers(names: list[str]) -> None:
    """Whatever layers are called, none is lost or merged, and pandas reads the names back."""
    with tempfile.TemporaryDirectory() as folder:
        run = Store(folder)
        for number, name in enumerate(names):
            run.write_table(schema.winners_name(name), pa.table({"number": [number]}))
        assert len(list(Path(folder, schema.WINNERS).iterdir())) == len(names)
        partitions = partitioning(pa.schema([("layer", pa.string())]), flavor="hive")
        rows = pd.read_parquet(f"{folder}/{schema.WINNERS}", partitioning=partitions)
        assert {names[row.number]: row.layer for row in rows.itertuples()} == {n: n for n in names}


def test_names_do_not_steer_the_terminal() -> None:
    assert legible("a\tb\nc\x1b[2J\u2028d\udcff") == r"a\tb\nc\x1b[2J\u2028d\udcff"
    for name in ("猫 كلب é", "می‌خواهم", "100% <b>[red]"):
        assert legible(name) == name


def test_a_look_waits_for_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, pipeline.cli.app, pipeline.commands.look.show, pipeline.commands.look.nets; "
        "pipeline.commands.look.nets.nets_table(); "
        "print({'torch', 'torchvision', 'pandas', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
