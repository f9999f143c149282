"""The wall of a layer: all its maps, from the whole to the single projection."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.browser.site import both, without_browser

pytestmark = without_browser

READY = """() => {
  const viewer = document.querySelector('.wall')?.viewer;
  if (!viewer || !viewer.world.getItemCount()) return false;
  return [...Array(viewer.world.getItemCount()).keys()].map((n) => viewer.world.getItemAt(n))
    .every((item) => !item.getOpacity() || item.getFullyLoaded());
}"""
LOOK_AT = """([column, row, columns, near]) => {
  const { viewport } = document.querySelector('.wall').viewer;
  viewport.zoomTo(near * columns, undefined, true);
  viewport.panTo(new OpenSeadragon.Point((column + 0.5) / columns, (row + 0.5) / columns), true);
}"""
COLUMNS = """() => {
  const place = document.querySelector('.wall');
  return columnsFor(140, place.clientWidth / place.clientHeight);
}"""


def colours(png):
    with Image.open(io.BytesIO(png)) as opened:
        return np.asarray(opened.convert("RGB")).astype(float)


def middle(page, side):
    """The pixels in the middle of the wall."""
    box = page.locator(".wall").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return colours(
        page.screenshot(clip={"x": x - side / 2, "y": y - side / 2, "width": side, "height": side})
    )


@both
def test_it_shows_the_whole_layer_and_leads_to_each_map(open_page):
    page = open_page("#/conv2?view=wall")
    page.wait_for_function(READY)
    columns = page.evaluate(COLUMNS)
    column, row = 3, 2
    page.evaluate(LOOK_AT, [column, row, columns, 0.4])
    page.wait_for_function(READY)
    box = page.locator(".wall").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("location.hash.startsWith('#/conv2/')")
    assert page.evaluate("location.hash") == f"#/conv2/{row * columns + column}"
    page.go_back()
    page.wait_for_function(READY)
    zoom = page.evaluate("document.querySelector('.wall').viewer.viewport.getZoom()")
    assert zoom == pytest.approx(0.4 * columns, rel=0.01)  # where one stood


@pytest.mark.parametrize("kind", ["projections", "patches"])
def test_near_it_shows_the_sheet_itself(open_page, kind):
    blend = {"projections": 0, "patches": 100}[kind]
    page = open_page(f"#/conv2?view=wall&order=max&blend={blend}")
    page.wait_for_function(READY)
    columns = page.evaluate(COLUMNS)
    page.evaluate(LOOK_AT, [1, 0, columns, 1])
    page.wait_for_function(READY)
    page.wait_for_timeout(500)
    page.mouse.move(0, 0)
    seen = middle(page, 240).mean((0, 1))
    page.goto(page.url.partition("#")[0] + "#/conv2?order=max")
    second = int(page.locator(".thumbnail").nth(1).get_attribute("data-map"))
    page.goto(page.url.partition("#")[0] + f"#/conv2/{second}")
    page.wait_for_selector(".sheet img")
    page.wait_for_function("[...document.images].every(i => i.complete)")
    half = page.locator(f".half[data-kind={kind}] .block")
    picture = colours(half.screenshot())
    edge = picture.shape[0] // 2
    around = picture[edge - 60 : edge + 60, edge - 60 : edge + 60].mean((0, 1))
    assert np.abs(seen - around).max() < 14


def test_keys_move_it_and_open_the_map_in_its_middle(open_page):
    page = open_page("#/conv2?view=wall")
    page.wait_for_function(READY)
    columns = page.evaluate(COLUMNS)
    page.evaluate(LOOK_AT, [2, 1, columns, 0.5])
    page.locator(".wall").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("n => location.hash === `#/conv2/${n}`", arg=columns + 2)


def test_what_shines_through_is_in_the_address(open_page):
    page = open_page("#/conv2?view=wall")
    page.wait_for_function(READY)
    page.locator("#blend").fill("40")
    page.wait_for_function("location.hash === '#/conv2?view=wall&blend=40'")
    assert (
        page.evaluate("document.querySelector('.wall').viewer.world.getItemAt(1).getOpacity()")
        == 0.4
    )
    page.reload()
    page.wait_for_function(READY)
    assert page.locator("#blend").input_value() == "40"


def test_only_what_is_seen_is_loaded(open_page):
    page = open_page()
    names = []
    page.on("request", lambda request: names.append(request.url.rpartition("/")[2]))
    page.evaluate("location.hash = '#/conv2?view=wall'")
    page.wait_for_function(READY)
    assert not any("large" in name or name.endswith(".avif") for name in names)
    assert not any("patches" in name for name in names)
    names.clear()
    page.evaluate(LOOK_AT, [1, 1, page.evaluate(COLUMNS), 1])
    page.wait_for_function(READY)
    page.wait_for_timeout(500)
    assert 0 < sum(name.endswith(".avif") for name in names) < 30
