"""What makes an atlas public, on a real S3 service over HTTP."""

import json
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.deploy.files import DEPLOY, ROOT, loaded

BUCKET = "bucket"
ATLAS = "atlases/alexnet-imagenet"


@pytest.fixture
def s3() -> Iterator[Any]:
    """A client of a service that has the bucket."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="someone", aws_secret_access_key="secret",
    )  # fmt: skip
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()
    server.stop()


def anyone(s3: Any, key: str) -> int:
    """The status that a browser without any key gets."""
    try:
        with urllib.request.urlopen(f"{s3.meta.endpoint_url}/{BUCKET}/{key}", timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_policy_opens_the_atlas_and_nothing_else(s3: Any) -> None:
    closed = ("runs/alexnet-imagenet/run.json", f"{ATLAS}-2/index.html", f"{ATLAS}.html")
    for key in (f"{ATLAS}/index.html", *closed):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    assert anyone(s3, f"{ATLAS}/index.html") == 403
    policy = (DEPLOY / "buckets" / "s3-policy.json").read_text().replace("BUCKET", BUCKET)
    s3.put_bucket_policy(Bucket=BUCKET, Policy=policy)
    assert anyone(s3, f"{ATLAS}/index.html") == 200
    assert [anyone(s3, key) for key in closed] == [403] * len(closed)
    (statement,) = json.loads(policy)["Statement"]  # neither lists nor writes
    assert (statement["Effect"], statement["Action"]) == ("Allow", "s3:GetObject")


def test_other_sites_may_read_and_no_more(s3: Any) -> None:
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration=loaded("buckets/s3-cors.json"))
    (rule,) = s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"]
    (same,) = loaded("buckets/gcs-cors.json")
    assert rule["AllowedMethods"] == same["method"] == ["GET", "HEAD"]
    assert rule["AllowedOrigins"] == same["origin"] == ["*"]


def test_the_policy_is_for_the_place_where_the_job_publishes() -> None:
    job = tomllib.loads((ROOT / "jobs" / "alexnet-imagenet.toml").read_text())
    assert job["publish"]["dest"] == f"s3://BUCKET/{ATLAS}"


def test_googles_role_reads_objects_alone() -> None:
    """The role has one permission, given where the README makes it."""
    (binding,) = loaded("buckets/gcs-policy.json")["bindings"]
    name = binding["role"].rpartition("/")[2]
    made = f"gcloud iam roles create {name} --project PROJECT --permissions storage.objects.get\n"
    assert made in (DEPLOY / "README.md").read_text()
