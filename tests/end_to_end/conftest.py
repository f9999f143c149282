"""A cluster of two nodes, pictures, buckets, and one run that nobody disturbed."""

import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import ray
from moto.server import ThreadedMotoServer
from ray.cluster_utils import Cluster

from pipeline.data.demo.images import CLASS_NAMES, draw, shard_bytes
from tests.data.without_ray import screened_anyhow
from tests.end_to_end.runs import Run, command

IMAGES, SHARDS = 150, 5


@pytest.fixture(scope="session")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 generated pictures in five tar shards."""
    folder = tmp_path_factory.mktemp("tars")
    size = IMAGES // SHARDS
    for shard in range(SHARDS):
        numbers = range(shard * size, (shard + 1) * size)
        (folder / f"demo-{shard:04d}.tar").write_bytes(shard_bytes(numbers))
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 generated pictures in folders by class."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(48):
        picture = draw(index)
        path = folder / CLASS_NAMES[picture.label] / f"{index:04d}.png"
        path.parent.mkdir(exist_ok=True)
        picture.image.save(path)
    return folder


@pytest.fixture(scope="session")
def service() -> Iterator[str]:
    """The endpoint of an S3 service of our own; the environment names it, for workers too."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    settings = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield endpoint
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


@pytest.fixture
def bucket(service: str) -> str:
    """The URL of an empty bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def cluster(service: str) -> Iterator[Cluster]:
    """Two nodes with one processor each; this process is connected to them."""
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture(autouse=True)
def screens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data are so few that reduced precision would not pay."""
    screened_anyhow(monkeypatch)


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, tars: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of all three stages by two workers."""
    with pytest.MonkeyPatch.context() as patch:
        screened_anyhow(patch)  # as the tests do, which compare theirs with it
        run = Run(str(tmp_path_factory.mktemp("undisturbed") / "run"))
        run.make(tars)
        command("publish", "--run", run.url)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A place for a run."""
    return Run(str(tmp_path / "run"))


@pytest.fixture
def jpeg() -> bytes:
    """One usable picture."""
    stream = io.BytesIO()
    draw(0).image.save(stream, "JPEG")
    return stream.getvalue()
