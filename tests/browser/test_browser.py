"""A published atlas in a real browser: from a server's sub-path and straight from the disk."""

import functools
import http.server
import io
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.atlas import publish
from pipeline.atlas.unit import publish_unit
from pipeline.data.store import Store
from tests.atlas import synthetic_run

CHROMIUM = Path("/usr/bin/chromium")
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
QUIET += " --disable-background-networking --disable-component-update"
LAYERS = {"conv1": (8, 11, 4), "conv2": (140, 9, 8), "layer2.0.conv1": (4, 160, 16)}
ODD = '<b>&amp; "quoted"</b>'

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that a server may serve, with the atlas two levels below it."""
    root = tmp_path_factory.mktemp("site")
    run = synthetic_run.temporary(root / "run", layers=LAYERS, ranks=3)
    dest = Store(root / "some folder" / "atlas")
    for unit in publish.units(run):
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


both = pytest.mark.parametrize("index", ["http", "file"], indirect=True)


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
        page.set_default_timeout(5000)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        page.on("request", lambda request: is_inside(request.url) or wrong.append(request.url))
        page.goto(index + place)
        pages.append(page)
        return page

    def is_inside(url):
        return url.startswith((home, "data:"))

    yield open_page
    for page in pages:
        page.close()
    assert wrong == []


def heading(page):
    return page.locator("h1").inner_text()


def shown_pictures(page):
    """Whether every picture of the page has loaded and has pixels."""
    page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    return page.locator("img").count()


@both
def test_home_leads_to_a_layer_a_map_and_back(open_page):
    page = open_page()
    assert heading(page) == "What does alexnet look for?"
    assert page.locator(".card h2").all_inner_texts() == list(LAYERS)
    assert "3 unusable files" in page.locator(".about").inner_text()
    assert "/home/someone" not in page.content()
    page.click(".card-head:has-text('conv2')")
    assert heading(page) == "conv2"
    assert page.locator(".thumbnail").count() == 140
    page.click(".thumbnail >> nth=3")
    assert heading(page).replace("\n", "") == "conv2/3"
    assert shown_pictures(page) == 2
    assert page.locator("tbody tr").count() == 3
    page.go_back()
    assert heading(page) == "conv2"


@both
def test_arrow_keys_go_from_map_to_map(open_page):
    page = open_page("#/conv1/3")
    for key, place in [
        ("ArrowRight", "#/conv1/4"),
        ("ArrowRight", "#/conv1/5"),
        ("ArrowRight", "#/conv1/6"),
        ("ArrowLeft", "#/conv1/5"),
        ("Escape", "#/conv1"),
    ]:
        page.keyboard.press(key)
        page.wait_for_function("place => location.hash === place", arg=place)
    page = open_page("#/conv1/7")
    page.keyboard.press("ArrowRight")  # the last one stays
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("location.hash === '#/conv1/6'")
    page.get_by_label("Next map").click()
    page.wait_for_function("location.hash === '#/conv1/7'")


FINDS = {
    "layer2": "#/layer2.0.conv1",
    "conv2 137": "#/conv2/137",
    "conv2/5": "#/conv2/5",
    "2": "#/conv1/2",
    "hammer": "#?class=hammerhead",
    "CAT tabby": "#?class=tabby%20cat",
}


def test_search_finds(open_page):
    page = open_page()
    for typed, place in FINDS.items():
        page.keyboard.press("/")
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        page.wait_for_function("place => location.hash === place", arg=place)


def test_a_new_page_does_not_take_the_keyboard_from_the_search(open_page):
    page = open_page()
    page.evaluate("location.hash = '#/conv2'; document.getElementById('search').focus()")
    page.wait_for_function("document.querySelector('h1').textContent.includes('conv2')")
    page.keyboard.type("cat")
    assert page.locator("#search").input_value() == "cat"


@both
def test_search_by_keyboard_mouse_and_in_vain(open_page):
    page = open_page()
    search = page.locator("#search")
    search.fill("cat")
    options = page.get_by_role("option")
    assert sorted(text.split("\n")[0] for text in options.all_inner_texts()) == [
        "Persian cat",
        "tabby cat",
    ]
    second = options.nth(1).inner_text().split("\n")[0]
    search.press("ArrowDown")
    assert options.nth(1).get_attribute("aria-selected") == "true"
    assert search.get_attribute("aria-activedescendant") == options.nth(1).get_attribute("id")
    search.press("Enter")
    page.wait_for_function("name => document.querySelector('h1').textContent === name", arg=second)
    search.fill("conv1 4")
    options.first.click()
    page.wait_for_function("location.hash === '#/conv1/4'")
    search.fill("no such thing")
    assert "Nothing found" in page.locator("#found").inner_text()
    search.press("ArrowRight")  # moves the cursor, not the atlas
    search.press("Escape")
    assert not page.locator("#found").is_visible()
    assert page.evaluate("location.hash") == "#/conv1/4"


def test_a_class_lists_its_maps_most_first(open_page):
    page = open_page("#?class=tabby%20cat")
    counts = [int(text.rstrip("×")) for text in page.locator(".caption em").all_text_contents()]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) > 20
    page.click(".thumbnail >> nth=0")
    page.wait_for_selector("tbody tr")
    named = page.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert named.count("tabby cat") == counts[0]


@both
def test_a_class_name_is_text_and_can_be_linked_to(open_page):
    page = open_page("#?classes")
    page.get_by_role("link", name=ODD, exact=True).click()
    page.wait_for_function("name => document.querySelector('h1').textContent === name", arg=ODD)
    assert page.locator("main b").count() == 0
    assert page.locator(".thumbnail").count() > 0


def test_a_dead_map_says_so(open_page):
    page = open_page("#/conv1/5")
    assert "none of the 400 images" in page.locator(".note").inner_text()
    page = open_page("#/conv1")
    assert page.locator(".picture.dead").count() == 1


def test_an_address_that_is_not_in_the_atlas(open_page):
    page = open_page()
    for place in ["#/conv9", "#/conv1/8", "#/conv1/x", "#?class=no", "#/%E0%A4%A"]:
        page.evaluate("place => location.hash = place", place)
        page.wait_for_selector("h1:text('Not here')")
        page.click("text=To all layers")
        page.wait_for_selector(".card")


def test_order_and_kind_of_a_layer(open_page):
    page = open_page("#/conv2")
    page.select_option("#order", "max")
    strongest = [float(text) for text in page.locator(".caption em").all_text_contents()]
    assert strongest == sorted(strongest, reverse=True)
    picture = page.locator(".thumbnail .picture").first
    background = "e => getComputedStyle(e).backgroundImage"
    assert "projections-0.webp" in picture.evaluate(background)
    page.click("text=Patches")
    assert "patches-0.webp" in picture.evaluate(background)
    picture.hover()
    assert "projections-0.webp" in picture.evaluate(background)


def test_a_thumbnail_is_its_maps_own(open_page):
    """The sprite's arithmetic: a thumbnail has the colours of the sheet's first cell."""
    page = open_page("#/conv2")
    page.click("text=Patches")
    thumbnail = page.get_by_label("conv2, map 131", exact=True).locator(".picture")
    thumbnail.scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    small = mean_colour(thumbnail.screenshot())
    page = open_page("#/conv2/131")
    shown_pictures(page)
    large = mean_colour(page.locator(".half:nth-child(2) .spot").first.screenshot())
    assert max(abs(a - b) for a, b in zip(small, large, strict=True)) < 8


def mean_colour(png):
    with Image.open(io.BytesIO(png)) as opened:
        return np.asarray(opened.convert("RGB")).mean((0, 1))


def test_pointing_at_a_winner_marks_it_everywhere(open_page):
    page = open_page("#/layer2.0.conv1/1")
    page.locator("tbody tr >> nth=2").hover()
    assert page.locator(".on").count() == 3
    page.locator(".half >> nth=1 >> .spot >> nth=0").hover()
    assert page.locator("tr.on .rank").inner_text() == "1"


def test_nothing_is_wider_than_a_phone_and_dark_is_dark(open_page):
    phone = open_page(width=360, color_scheme="dark", has_touch=True)
    for place in ["#/", "#/conv2", "#/layer2.0.conv1/1", "#?class=tabby%20cat", "#?classes"]:
        phone.evaluate("place => location.hash = place", place)
        phone.wait_for_timeout(100)
        assert phone.evaluate("document.documentElement.scrollWidth") == 360, place
    brightness = "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"
    assert phone.evaluate(brightness) < 50
    assert open_page().evaluate(brightness) > 200


def test_going_back_returns_to_where_one_was(open_page):
    page = open_page("#/conv2")
    page.get_by_label("conv2, map 120", exact=True).scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    assert before > 300
    page.get_by_label("conv2, map 120", exact=True).click()
    page.wait_for_selector("figure")
    assert page.evaluate("scrollY") == 0
    page.go_back()
    page.wait_for_selector(".grid")
    page.wait_for_function("y => Math.abs(scrollY - y) < 5", arg=before)


def test_all_links_are_relative(folder):
    atlas = folder / "some folder" / "atlas"
    for page in [*atlas.glob("*.html"), *atlas.glob("*.css"), *atlas.glob("*.js")]:
        text = page.read_text().replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert "//" not in re.sub(r"^\s*//.*|\s// .*", "", text, flags=re.MULTILINE), page
        for link in re.findall(r'(?:href|src)="([^"$]*)"', text):
            assert not link.startswith("/"), (page, link)
