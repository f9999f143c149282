"""A published atlas in a real browser: from a server's sub-path and straight from the disk."""

import functools
import http.server
import threading

import pytest

from pipeline.atlas import publish
from pipeline.atlas.unit import publish_unit
from pipeline.data.store import Store
from tests.atlas import synthetic_run
from tests.browser.site import CHROMIUM, LAYERS, QUIET


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that a server may serve, with the atlas two levels below it."""
    root = tmp_path_factory.mktemp("site")
    run = synthetic_run.temporary(root / "run", layers=LAYERS, ranks=3)
    dest = Store(root / "some folder" / "atlas")
    for unit in publish.units(run, dest):
        publish_unit(run, dest, unit)
    publish.publish_pages(run, dest)
    return root


@pytest.fixture(scope="module")
def served(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def index(request, folder):
    if getattr(request, "param", "http") == "file":
        return (folder / "some folder" / "atlas" / "index.html").as_uri()
    return f"{request.getfixturevalue('served')}/some%20folder/atlas/index.html"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield running
        running.close()


@pytest.fixture
def open_page(browser, index):
    """Opens a page of the atlas; in the end nothing may have gone wrong or out of the atlas."""
    wrong, pages = [], []
    home = index.rpartition("/")[0] + "/"

    def open_page(place="", width=1200, **options):
        page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        page.set_default_timeout(20000)  # other tests are at work beside these
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: was_left(request) or wrong.append(request.url))
        page.on("request", lambda request: is_inside(request.url) or wrong.append(request.url))
        page.goto(index + place)
        pages.append(page)
        return page

    def was_left(request):  # by going to another page
        return request.failure == "net::ERR_ABORTED"

    def is_inside(url):
        return url.startswith((home, "data:"))

    yield open_page
    for page in pages:
        page.close()
    assert wrong == []
