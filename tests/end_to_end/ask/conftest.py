"""Photographs before a net that really sees, and a service over that run on a Ray cluster."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.end_to_end.ask.service import LAYERS, PHOTOS, WEIGHTS, Service, replicas, service
from tests.end_to_end.runs import command


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, mined, projected and published; its dataset beside it."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "photos").mkdir()
    for photo in PHOTOS:
        (folder / "photos" / photo.name).symlink_to(photo)
    net = ["--net", "squeezenet1_1", "--weights", WEIGHTS, "--layers", ",".join(LAYERS)]
    run = ["--run", folder / "run"]
    with pytest.MonkeyPatch.context() as alone:
        alone.delenv("RAY_ADDRESS", raising=False)
        command("mine", folder / "photos", *run, *net, "--top-k", 2)
        command("project", *run, "--rank-limit", 1)
        command("publish", *run)
    return folder


@pytest.fixture(scope="package")
def asked(cluster: Cluster, folder: Path) -> Iterator[Service]:
    """On two nodes with one processor each."""
    with service(folder / "run", "--address", cluster.address) as running:
        yield running
    assert replicas() == []
    ends = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2:  # the next tests want them
        assert time.monotonic() < ends
        time.sleep(0.5)
