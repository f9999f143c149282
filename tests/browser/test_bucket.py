"""An atlas in a bucket, as its service serves it: texts packed, and told how long to keep."""

from collections.abc import Iterator

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from pipeline.atlas import publish
from pipeline.atlas.unit import publish_unit
from pipeline.data.store import Store
from tests.atlas import synthetic_run
from tests.browser.site import without_browser

pytestmark = without_browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a public atlas below a prefix of a bucket."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "key": "someone",
        "secret": "secret",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}"},
    }
    fs = fsspec.filesystem("s3", **options)
    fs.mkdir("public")
    fs.call_s3("put_bucket_acl", Bucket="public", ACL="public-read")
    run = synthetic_run.temporary(tmp_path_factory.mktemp("run"), layers={"conv1": (70, 11, 4)})
    dest = Store("s3://public/some/atlas", options)
    for unit in publish.units(run, dest):
        publish_unit(run, dest, unit)
    publish.publish_pages(run, dest)
    for name in dest.list():
        bucket, _, key = dest.path(name).partition("/")
        fs.call_s3("put_object_acl", Bucket=bucket, Key=key, ACL="public-read")
    yield f"http://{host}:{port}/public/some/atlas/index.html"
    server.stop()


def test_it_is_read_and_what_is_kept_is_not_asked_for_again(site: str, browser) -> None:  # type: ignore[no-untyped-def]
    context = browser.new_context()
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda answer: answer.ok or wrong.append(f"{answer.status} {answer.url}"))
    packed = {}
    page.on("response", lambda answer: packed.update({answer.url: answer.headers}))
    page.goto(f"{site}#/conv1/66")
    page.wait_for_selector("tbody tr")
    page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    texts = [of for url, of in packed.items() if url.endswith((".js", ".css", ".html"))]
    assert len(texts) >= 5
    assert all(of["content-encoding"] == "gzip" for of in texts)
    again: list[str] = []
    page.on("request", lambda request: again.append(request.url))
    page.evaluate("location.hash = '#/conv1'")
    page.wait_for_selector(".thumbnail")
    page.evaluate("location.hash = '#/conv1/66'")
    page.wait_for_selector("tbody tr")
    assert not any(url.endswith((".js", ".avif")) for url in again)
    assert wrong == []
    context.close()
