"""Names of layers and classes as data: in a browser each is itself, and none is code."""

import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from pipeline.atlas import publish
from pipeline.atlas.server import serve
from pipeline.atlas.unit import publish_unit
from pipeline.data.store import Store
from tests.atlas import synthetic_run
from tests.browser.site import CHROMIUM, QUIET, without_browser

LAYERS = ["a/b", "a%2Fb", "ü ?&=#'\"<script>x", "<img src=x onerror=alert(1)>", "{map}", "混 合"]
CLASSES = ["猫", "كلب", "a\tb", "x\ny", "</script><script>alert(1)</script>", "per%20cent", "${a}"]

pytestmark = without_browser


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as names:
        names.setattr(synthetic_run, "CLASSES", CLASSES)
        layers = {name: (3 + n, 11, 4) for n, name in enumerate(LAYERS)}
        folder = tmp_path_factory.mktemp("run 50%, #2?")
        run = synthetic_run.temporary(folder / "run", layers=layers, ranks=3)
    dest = Store(folder / "atlas")
    for unit in publish.units(run, dest):
        publish_unit(run, dest, unit)
    publish.publish_pages(run, dest)
    with serve(dest, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_every_name_is_shown_and_leads_to_what_it_is_of(home: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    wrong: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        page = browser.new_page()
        page.set_default_timeout(20000)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("response", lambda answer: answer.ok or wrong.append(answer.url))
        page.goto(home)
        assert page.locator(".card h2").all_inner_texts() == LAYERS
        for number, name in enumerate(LAYERS):
            page.goto(f"{home}#/{quote(name, safe='')}")
            page.wait_for_function("n => document.querySelectorAll('.thumbnail').length === n",
                                   arg=3 + number)  # fmt: skip
            assert page.locator("h1").inner_text() == name
            page.click(".thumbnail >> nth=1")
            page.wait_for_function("document.querySelectorAll('tbody tr').length > 0")
            page.wait_for_function(
                "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
            )
        for name in CLASSES:
            page.goto(f"{home}#?class={quote(name, safe='')}")
            page.wait_for_function("name => document.querySelector('h1')?.textContent === name",
                                   arg=name)  # fmt: skip
        browser.close()
    assert wrong == []
