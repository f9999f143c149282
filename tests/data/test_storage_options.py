"""What the file systems are told beside the URL, and what must never come out again."""

import os
import pickle
import sys
from pathlib import Path

import pytest

from pipeline.data.formats.dataset import open_dataset
from pipeline.data.store import Options, Store, patience
from pipeline.errors import RequestError, StoreError, WriteError
from tests.data.formats.test_dataset import FORMATS

SECRET = "a-secret-of-mine"


@pytest.fixture
def options(s3: str, monkeypatch: pytest.MonkeyPatch) -> Options:
    """All that reaches the S3 service; the environment says nothing."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    return {"endpoint_url": endpoint, "key": "someone", "secret": SECRET}


def test_options_reach_the_place_wherever_it_is_sent(s3: str, options: Options) -> None:
    store = Store(s3, options)
    store.write("a/x", b"1")
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    assert again != Store(s3, {**options, "key": "someone else"})
    assert again.at(f"{s3}/a").read("x") == b"1"


def test_checksums_can_be_left_out(s3: str, options: Options) -> None:
    """The README's remedy for stores that refuse them reaches the client."""
    asked = {"config_kwargs": {"request_checksum_calculation": "when_required"}}
    store = Store(s3, {**options, **asked})
    store.write("a", b"1")
    assert store.fs.s3.meta.config.request_checksum_calculation == "when_required"


def test_options_of_one_bucket_alone(s3: str, options: Options, tmp_path: Path) -> None:
    store = Store(s3, {s3: options})
    store.write("x", b"1")
    elsewhere = store.at("s3://another")
    assert elsewhere.fs.secret is None
    assert store.fs.secret == SECRET
    assert store.at(str(tmp_path)).is_local


@pytest.mark.parametrize("kind", FORMATS)
def test_a_dataset_is_read_with_them(
    kind: str, s3: str, options: Options, pictures: list[bytes]
) -> None:
    for name, data in FORMATS[kind][1](pictures).items():
        Store(s3, options).write(f"data/{name}", data)
    dataset = open_dataset(f"{s3}/data", options=options)
    sent = pickle.loads(pickle.dumps(dataset))
    samples = [sample for part in dataset.parts() for sample in sent.read(part)]
    assert [data for _, data in sent.fetch([samples[0].located])] == [samples[0].data]
    assert SECRET not in repr(dataset)


def test_secrets_are_not_said(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST", 0.0)
    nowhere = {"endpoint_url": "http://127.0.0.1:9", "key": "someone", "secret": SECRET}
    store = Store(s3, nowhere | {"config_kwargs": {"retries": {"max_attempts": 0}}})
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9") as refusal:
        store.list()
    assert SECRET not in str(refusal.value)
    with pytest.raises(WriteError) as failure:
        store.write("x", b"1")
    assert SECRET not in str(failure.value)
    assert store.reason(ValueError(f"no key {SECRET} at http://127.0.0.1:9")) == (
        "no key … at http://127.0.0.1:9"
    )


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://bucket", "s3fs", "s3"),
        ("gs://bucket", "gcsfs", "gcs"),
        ("abfs://container", "adlfs", "azure"),
        ("hf://datasets/someone/photos", "huggingface_hub", "hf"),
    ],
)
def test_a_package_that_is_missing(
    url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, url.split(":")[0], raising=False)
    with pytest.raises(RequestError, match=rf"not installed: pip install '\.\[{extra}\]'\."):
        Store(url)
