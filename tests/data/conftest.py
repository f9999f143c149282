"""Pictures to read and places to keep them: a disk, memory, and S3 over HTTP."""

import hashlib
import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from pipeline.data.store import Store

PHOTOS = Path(__file__).parents[2].parent / "shared" / "photos"


@pytest.fixture(scope="session")
def photos_folder() -> Path:
    """Real photographs, flat, and the names of ImageNet's classes."""
    if not PHOTOS.is_dir():
        pytest.skip("no photographs beside this checkout (shared/photos)")
    return PHOTOS


@pytest.fixture(scope="session")
def photos(photos_folder: Path) -> dict[str, bytes]:
    """Real photographs by file name."""
    return {path.name: path.read_bytes() for path in sorted(photos_folder.glob("*.JPEG"))}


@pytest.fixture(scope="session")
def scene() -> Image.Image:
    """A small picture with smooth and sharp places, 61 × 43."""
    y, x = np.mgrid[:43, :61]
    pixels = np.stack([x * 4, y * 5, 128 + 100 * np.sin(x / 3) * np.cos(y / 4)], axis=-1)
    pixels[10:20, 15:40] = (250, 20, 30)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """25 different small JPEGs."""
    rng = np.random.default_rng(0)
    shapes = rng.integers(8, 40, size=(25, 2))
    noise = (rng.integers(0, 256, size=(*shape, 3), dtype=np.uint8) for shape in shapes)
    return [encoded(Image.fromarray(pixels), "JPEG") for pixels in noise]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of an S3 service of our own."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # connected to what came before
    yield f"http://{host}:{port}"
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of an empty bucket, the same each time, as faults follow from addresses."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:32]}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}"


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder to put a dataset in, of each kind in turn."""
    if request.param == "disk":
        return str(tmp_path / "data")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"{request.getfixturevalue('s3')}/data"


@pytest.fixture
def put() -> Callable[[str, dict[str, bytes]], str]:
    """Writes files below a folder."""

    def write(folder: str, files: dict[str, bytes]) -> str:
        store = Store(folder)
        for name, data in files.items():
            store.write(name, data)
        return folder

    return write
