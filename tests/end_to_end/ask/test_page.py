"""The page of the atlas in a real browser, before a real service."""

import base64
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.browser.site import CHROMIUM, QUIET, without_browser
from tests.end_to_end.ask.service import LAYERS, Service, kill_replica, photo, with_photographs

pytestmark = [with_photographs, without_browser]

DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, {type: 'image/jpeg'}));
  window.dispatchEvent(new DragEvent('drop', {dataTransfer, cancelable: true}));
}"""
PASTE = DROP.replace(
    "DragEvent('drop', {dataTransfer", "ClipboardEvent('paste', {clipboardData: dataTransfer"
)

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        arguments = [*QUIET.split(), *camera]
        running = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any, asked: Service) -> Iterator[Open]:
    """Opens the page; nothing may go wrong, and nothing is asked of anyone but the service."""
    wrong: list[str] = []
    pages = []

    def is_elsewhere(said: Any) -> bool:
        """Another replica has never seen the picture, and is sent it then."""
        return "/ask/" in said.location["url"] and "404" in said.text

    def open_page(place: str = "#?ask", width: int = 1280, **options: Any) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 850}, **options)
        page.set_default_timeout(60_000)
        page.on("console", lambda one: is_elsewhere(one) or wrong.append(one.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        inside = (asked.address, "data:", "blob:")
        page.on("request", lambda one: one.url.startswith(inside) or wrong.append(one.url))
        page.goto(f"{asked.address}/{place}")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert wrong == []


def drop(page: Any, name: str, script: str = DROP) -> None:
    page.wait_for_selector(".chooser")
    data = base64.b64encode(photo(name).read_bytes()).decode()
    page.evaluate(script, [f"{name}.jpg", data])
    page.wait_for_selector(f'.strong-map[data-map^="{LAYERS[-1]}/"]')


def told(page: Any, pattern: str) -> str:
    """What is said below the picture, once it is what is waited for."""
    page.wait_for_function(
        "pattern => new RegExp(pattern).test(document.querySelector('.effect').textContent)",
        arg=pattern,
    )
    text: str = page.locator(".effect").inner_text()
    return text


def point(page: Any, y: float, x: float) -> None:
    """At a place of the picture, in shares of it."""
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


def test_a_photograph_is_dropped_and_its_object_hidden(open_page: Open) -> None:
    page = open_page()
    drop(page, "macaw")
    shares = page.locator(".share")
    assert shares.first.inner_text().split("\n")[0] == "macaw"
    told(page, "^Point at")
    assert page.locator(".strong-map").count() == 9
    assert page.locator(".strong-map .note").first.inner_text().startswith("stronger than")
    page.locator("#hides").fill("80")
    point(page, 0.5, 0.5)
    now = told(page, "^Now")
    assert now.endswith("no longer macaw.")
    assert not shares.first.inner_text().startswith("macaw")
    assert " of " in page.locator(".strong-map .value").last.inner_text()
    page.mouse.move(1, 1)
    told(page, "^Point at")
    assert shares.first.inner_text().startswith("macaw")
    assert " of " not in page.locator(".strong-map .value").last.inner_text()
    assert page.locator(".hides").is_hidden()


def test_by_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    drop(page, "macaw", PASTE)
    page.locator(".stage").focus()
    page.keyboard.press("ArrowDown")
    told(page, "^(Now|Still)")
    for _ in range(12):
        page.keyboard.press("+")
    told(page, "^Now")
    before = page.locator(".hides").bounding_box()
    page.keyboard.press("ArrowRight")
    assert page.locator(".hides").bounding_box()["x"] >= before["x"]
    page.keyboard.press("Escape")
    told(page, "^Point at")
    assert page.evaluate("location.hash") == "#?ask"  # Escape did not leave the page


def test_to_a_map_and_back(open_page: Open) -> None:
    page = open_page()
    drop(page, "macaw")
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/ask/answer" in one.url else None)
    link = page.locator(".strong-map .thumbnail").last
    href = link.get_attribute("href")
    assert re.fullmatch(rf"#/{re.escape(LAYERS[-1])}/\d+", href)
    link.click()
    page.wait_for_selector(".map-body tbody tr")
    page.go_back()
    page.wait_for_selector(".strong-map")
    assert page.locator(".share").first.inner_text().startswith("macaw")
    assert asked == []  # it is remembered
    page.locator("#layers").get_by_role("link", name="Ask").click()
    page.wait_for_selector(".strong-map")


def test_a_picture_of_the_dataset(open_page: Open) -> None:
    page = open_page("#?picture=3")
    page.get_by_role("link", name="Ask with it").click()
    page.wait_for_selector(".strong-map")
    assert photo("house_finch").name in page.locator(".pinned").inner_text()
    assert page.locator(".share").first.inner_text().startswith("house finch")


def test_what_counts_is_drawn_as_it_is_computed(open_page: Open) -> None:
    page = open_page()
    drop(page, "macaw")
    page.get_by_role("button", name="What counts in it?").click()
    told(page, r"^\d+ of \d+ places")
    told(page, "costs macaw most")
    drawn = """() => {
      const heat = document.querySelector('.heat');
      const {data} = heat.getContext('2d').getImageData(0, 0, heat.width, heat.height);
      return data.filter((_, at) => at % 4 === 3).reduce((most, alpha) => Math.max(most, alpha), 0);
    }"""
    assert page.evaluate(drawn) > 10
    page.get_by_role("button", name="Take away").click()
    assert page.locator(".heat").is_hidden()


def test_on_a_telephone(open_page: Open) -> None:
    page = open_page(width=390, has_touch=True, is_mobile=True)
    drop(page, "macaw")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    page.locator("#hides").fill("80")
    page.locator(".stage").tap()
    told(page, "^(Now|Still)")  # it stays after the finger is gone
    assert page.locator(".hides").is_visible()


def test_with_the_camera(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Camera").click()
    page.wait_for_function("document.querySelector('.camera video')?.videoWidth > 0")
    page.get_by_role("button", name="Take it").click()
    page.wait_for_selector(".strong-map")
    assert page.locator("dialog").count() == 0


def test_what_is_no_picture_is_told(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    page.wait_for_selector(".chooser")
    (tmp_path / "notes.txt").write_text("no picture")
    page.locator("#chosen").set_input_files(tmp_path / "notes.txt")
    page.get_by_text("That is no picture.").wait_for()


def test_a_service_that_dies_for_a_moment(open_page: Open) -> None:
    page = open_page()
    drop(page, "macaw")
    kill_replica()
    page.locator("#hides").fill("80")
    point(page, 0.5, 0.5)
    told(page, "^Now")


def test_everybody_can_use_it(open_page: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page()
    drop(page, "macaw")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_without_a_service(browser: Any, folder: Path) -> None:
    """From a server of files and from a disk: how to start one is said."""
    atlas = folder / "run" / "atlas"

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=atlas)
    ) as files:
        threading.Thread(target=files.serve_forever).start()
        for address in (f"http://127.0.0.1:{files.server_port}/", (atlas / "index.html").as_uri()):
            page = browser.new_page()
            page.goto(f"{address}#?ask")
            page.get_by_text("deconv-atlas ask RUN").wait_for()
            page.close()
        files.shutdown()
