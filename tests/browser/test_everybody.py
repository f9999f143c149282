"""For who cannot see well, has a slow line, a small screen, no scripts, or half an atlas."""

import re
import shutil

import pytest

from tests.browser.site import LAYERS, without_browser

pytestmark = without_browser

PAGES = [
    *("#/", "#/conv2", "#/conv2?view=wall", "#/conv2/3", "#/conv1/5", "#?classes", "#?about"),
    *("#?class=tabby%20cat", "#?picture=1", "#?compare=conv2/3,conv1", "#/none"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(color_scheme=scheme)
    for place in PAGES:
        page.evaluate("place => location.hash = place", place)
        page.wait_for_selector("h1")
        page.wait_for_timeout(300)
        if place == "#/conv2/3":
            page.locator(".spot").first.hover()
        found = axe.run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], place


def test_without_scripts_there_are_pictures_and_a_sentence(browser, index):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(index)
    assert "needs JavaScript" in page.locator("main").inner_text()
    assert page.locator("main h2").all_inner_texts() == list(LAYERS)
    page.wait_for_timeout(500)
    assert page.locator("main img").first.evaluate("one => one.naturalWidth") == 8 * 64
    context.close()


BROKEN = {
    "viewer/atlas.": ("#/", ".broken", "could not be loaded"),
    "layers/conv2/layer.": ("#/conv2", "[role=alert]", "could not be loaded"),
    "layers/conv2/maps-0.": ("#/conv2/3", "[role=alert]", "could not be loaded"),
    "layers/conv2/3.": ("#/conv2/3", "[role=alert]", "could not be loaded"),
    "viewer/wall.": ("#/conv2?view=wall", "[role=alert]", "could not be loaded"),
    "classes/classes.": ("#?classes", "[role=alert]", "could not be loaded"),
    "pictures/pictures.": ("#?picture=1", "[role=alert]", "could not be loaded"),
}


@pytest.mark.parametrize("start", list(BROKEN))
def test_a_file_that_is_not_there_is_a_sentence(browser, folder, tmp_path, start):
    atlas = tmp_path / "atlas"
    shutil.copytree(folder / "some folder" / "atlas", atlas)
    lost = [path for path in atlas.rglob("*") if str(path.relative_to(atlas)).startswith(start)]
    assert lost
    for path in lost:
        path.unlink()
    place, where, sentence = BROKEN[start]
    page = browser.new_page()
    page.goto((atlas / "index.html").as_uri() + place)
    page.wait_for_selector(where, timeout=20000)
    assert sentence in page.locator(where).first.inner_text()
    if start != "viewer/atlas.":  # all else is as it was
        page.evaluate("location.hash = '#/conv1'")
        page.wait_for_selector("h1:has-text('conv1')", timeout=20000)
    page.close()


@pytest.mark.parametrize(("place", "most"), [("#/", 200_000), ("#/conv2/3", 150_000)])
def test_a_slow_line_shows_the_first_picture_and_loads_little(browser, index, place, most):
    context = browser.new_context(viewport={"width": 1280, "height": 850})
    page = context.new_page()
    line = context.new_cdp_session(page)
    line.send("Network.enable")
    speed = {"latency": 40, "downloadThroughput": 10e6 / 8, "uploadThroughput": 10e6 / 8}
    line.send("Network.emulateNetworkConditions", {"offline": False, **speed})
    loaded = []
    line.on("Network.loadingFinished", lambda of: loaded.append(of["encodedDataLength"]))
    page.goto(index + place)
    page.wait_for_function(
        "performance.getEntriesByType('resource').some((one) => /webp|avif/.test(one.name))"
    )
    page.wait_for_timeout(1000)
    assert sum(loaded) < most  # though this server packs no texts
    context.close()


@pytest.mark.parametrize("width", [360, 1280, 2560, 3840])
def test_any_screen_is_used_and_not_left(open_page, width):
    page = open_page(width=width)
    for place in PAGES:
        page.evaluate("place => location.hash = place", place)
        page.wait_for_selector("h1")
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") == width, place


def test_a_class_of_300_letters_and_one_from_right_to_left(open_page):
    page = open_page("#/conv2/3", width=360)
    page.wait_for_selector("tbody tr")
    page.evaluate("""() => {
      const names = document.querySelectorAll('.chip bdi, td.class bdi');
      for (const one of names) one.textContent = 'x'.repeat(300);
      names[0].textContent = 'كلب صغير';
    }""")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    isolated = "one => getComputedStyle(one).unicodeBidi"
    assert page.locator(".chip bdi").first.evaluate(isolated) == "isolate"


def test_printed_a_layer_has_its_pictures(open_page):
    page = open_page("#/conv2")
    page.wait_for_selector(".thumbnail")
    page.emulate_media(media="print")
    assert not page.locator(".bar").is_visible()
    assert not page.locator(".controls").is_visible()
    colours = "one => getComputedStyle(one).webkitPrintColorAdjust"
    assert page.locator(".thumbnail .picture").last.evaluate(colours) == "exact"
    assert len(page.pdf()) > 100_000


def test_other_sites_are_told_what_to_show_of_it(open_page):
    page = open_page()
    preview = re.search(r'property="og:image" content="([^"]+)"', page.content())[1]
    size = """source => new Promise((done) => {
      const image = new Image();
      image.onload = () => done([image.naturalWidth, image.naturalHeight]);
      image.src = source;
    })"""
    assert page.evaluate(size, preview) == [1200, 630]
