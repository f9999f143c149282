"""The pages of an atlas."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline.atlas
from pipeline.data.store import Store
from tests.browser.site import LAYERS, both, without_browser

pytestmark = without_browser

VIEWER = Path(pipeline.atlas.__file__).parent / "viewer"
ODD = '<b>&amp; "quoted"</b>'


def heading(page):
    page.wait_for_selector("h1")
    return page.locator("h1").inner_text()


def shown_pictures(page):
    """Whether every picture of the page has loaded and has pixels."""
    page.wait_for_selector(".sheet img")
    page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    return page.locator("img").count()


def at(page, place):
    """Waits for an address, and for the page that it is of."""
    there = "place => location.hash === place && here.hash.split('?')[0] === place.split('?')[0]"
    page.wait_for_function(there, arg=place)


@both
def test_home_leads_to_a_layer_a_map_and_back(open_page):
    page = open_page()
    assert heading(page) == "What does alexnet look for?"
    assert page.locator(".card h2").all_inner_texts() == list(LAYERS)
    assert "/home/someone" not in page.content()
    page.click(".card-head:has-text('conv2')")
    assert heading(page) == "conv2"
    page.wait_for_selector(".thumbnail")
    assert page.locator(".thumbnail").count() == 140
    page.click(".thumbnail >> nth=3")
    page.wait_for_selector("tbody tr")
    assert heading(page).replace("\n", "") == "conv2/3"
    assert shown_pictures(page) >= 2
    assert page.locator("tr[data-rank]").count() == 3
    page.go_back()
    page.wait_for_selector(".thumbnail")
    assert heading(page) == "conv2"


@both
def test_about_tells_where_it_comes_from(open_page):
    page = open_page()
    page.click("text=About this atlas")
    page.wait_for_selector("dl.about")
    told = page.locator("main").inner_text()
    assert "Unusable files" in told
    assert "0000000000000000" in told  # the weights' digest
    assert "@inproceedings{zeiler2014visualizing" in told
    for link in page.locator("a[download]").all():
        assert link.get_attribute("href").startswith("data/")


def test_a_first_visit_is_told_what_is_seen_and_told_once(open_page):
    page = open_page()
    assert "A feature map is" in page.locator(".hint").inner_text()
    page.click("text=Got it")
    page.reload()
    page.wait_for_selector(".card")
    assert page.locator(".hint").count() == 0


@both
def test_arrow_keys_go_from_map_to_map_and_back_leads_to_where_one_came_from(open_page):
    page = open_page("#/conv1")
    page.click(".thumbnail >> nth=3")
    for key, number in [("ArrowRight", 4), ("ArrowRight", 5), ("ArrowRight", 6), ("ArrowLeft", 5)]:
        page.wait_for_selector(".step")
        page.keyboard.press(key)
        at(page, f"#/conv1/{number}")
    page.go_back()
    at(page, "#/conv1")
    page = open_page("#/conv1/7")
    page.wait_for_selector("a.step")
    page.keyboard.press("ArrowRight")  # the last one stays
    page.keyboard.press("ArrowLeft")
    at(page, "#/conv1/6")
    page.wait_for_selector("a.step[rel=next]")
    page.get_by_label("Next map").click()
    at(page, "#/conv1/7")
    page.keyboard.press("Escape")
    at(page, "#/conv1")
    page.keyboard.press("Escape")
    at(page, "#/")


def test_arrows_follow_the_order_one_came_by(open_page):
    page = open_page("#/conv2?order=max")
    page.wait_for_selector(".thumbnail")
    maps = [int(one.get_attribute("data-map")) for one in page.locator(".thumbnail").all()[:3]]
    assert maps != [0, 1, 2]
    page.click(".thumbnail >> nth=0")
    for number in maps[1:]:
        page.wait_for_selector("a.step[rel=next]")
        page.keyboard.press("ArrowRight")
        at(page, f"#/conv2/{number}?order=max")
    page.keyboard.press("Escape")
    at(page, "#/conv2?order=max")
    page.wait_for_selector("#order")
    assert page.locator("#order").input_value() == "max"


def test_a_grid_is_one_stop_of_the_tab_key(open_page):
    page = open_page("#/conv2")
    page.wait_for_selector(".thumbnail")
    assert page.locator(".thumbnail[tabindex='0']").count() == 1
    page.locator(".thumbnail >> nth=0").focus()
    for key, number in [
        ("ArrowRight", 1),
        ("ArrowDown", None),
        ("ArrowUp", 1),
        ("End", 139),
        ("Home", 0),
    ]:
        page.keyboard.press(key)
        focused = page.evaluate("Number(document.activeElement.dataset.map)")
        assert focused == number if number is not None else focused > 5


def test_keys_are_listed(open_page):
    page = open_page("#/conv2")
    page.wait_for_selector(".thumbnail")
    page.keyboard.press("?")
    assert "search" in page.locator("dialog").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("w")
    page.wait_for_selector(".wall canvas")
    at(page, "#/conv2?view=wall")


FINDS = {
    "layer2": "#/layer2.0.conv1",
    "conv2 137": "#/conv2/137",
    "conv2/5": "#/conv2/5",
    "2": "#/conv1/2",
    "hammer": "#?class=hammerhead",
    "CAT tabby": "#?class=tabby%20cat",
    "dead": "#/conv1?only=dead",
    "fox conv2": "#?class=red%20fox&in=conv2",
}


def test_search_finds(open_page):
    page = open_page()
    for typed, place in FINDS.items():
        page.keyboard.press("/")
        page.wait_for_function("ATLAS.classes().then(() => true)")
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        at(page, place)


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
    search.focus()
    page.wait_for_function("ATLAS.classes().then(() => true)")
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
    page.wait_for_function("name => document.querySelector('h1')?.textContent === name", arg=second)
    search.fill("conv1 4")
    options.first.click()
    at(page, "#/conv1/4")
    search.fill("no such thing")
    assert "Nothing found" in page.locator("#found").inner_text()
    search.press("ArrowRight")  # moves the cursor, not the atlas
    search.press("Escape")
    assert not page.locator("#found").is_visible()
    assert page.evaluate("location.hash") == "#/conv1/4"


def test_a_class_lists_its_maps_most_first(open_page):
    page = open_page("#?class=tabby%20cat")
    page.wait_for_selector(".thumbnail")
    counts = [int(text.rstrip("×")) for text in page.locator(".caption em").all_text_contents()]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) > 20
    page.click(".thumbnail >> nth=0")
    page.wait_for_selector("tbody tr")
    named = page.locator("tr[data-rank] td:nth-child(2)").all_inner_texts()
    assert named.count("tabby cat") == counts[0]


@both
def test_a_class_name_is_text_and_can_be_linked_to(open_page):
    page = open_page("#?classes")
    page.get_by_role("link", name=ODD, exact=True).click()
    page.wait_for_function("name => document.querySelector('h1')?.textContent === name", arg=ODD)
    assert page.locator("main b").count() == 0
    assert page.locator(".thumbnail").count() > 0


def test_a_dead_map_says_so(open_page):
    page = open_page("#/conv1/5")
    page.wait_for_selector(".note:has-text('none of the 400 images')")
    page = open_page("#/conv1")
    page.wait_for_selector(".thumbnail")
    assert page.locator(".picture.dead").count() == 1
    page.select_option("#only", "dead")
    assert page.locator(".thumbnail").count() == 1
    at(page, "#/conv1?only=dead")


def test_an_address_that_is_not_in_the_atlas(open_page):
    page = open_page()
    places = ["#/conv9", "#/conv1/8", "#/conv1/x", "#?class=no", "#/%E0%A4%A", "#?picture=99999"]
    for place in places:
        page.evaluate("place => location.hash = place", place)
        page.wait_for_selector("h1:text('Not here')")
        page.click("text=To all layers")
        page.wait_for_selector(".card")


def test_order_and_kind_of_a_layer_are_in_its_address(open_page):
    page = open_page("#/conv2")
    page.wait_for_selector("#order")
    page.select_option("#order", "max")
    strongest = [float(text) for text in page.locator(".caption em").all_text_contents()]
    assert strongest == sorted(strongest, reverse=True)
    picture = page.locator(".thumbnail .picture").first
    background = "e => getComputedStyle(e).backgroundImage"
    assert "/projections-large-" in picture.evaluate(background)
    page.click("text=Patches")
    at(page, "#/conv2?order=max&kind=patches")
    page.reload()
    page.wait_for_selector(".thumbnail")
    page.mouse.move(0, 0)
    assert "/patches-large-" in picture.evaluate(background)
    picture.hover()
    assert "/projections-large-" in picture.evaluate(background)


def test_a_thumbnail_is_its_maps_own(open_page):
    """The sprite's arithmetic: a thumbnail has the colours of the sheet's first cell."""
    page = open_page("#/conv2")
    page.click("text=Patches")
    thumbnail = page.get_by_label("conv2, map 131").locator(".picture")
    thumbnail.scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    small = mean_colour(thumbnail.screenshot())
    page = open_page("#/conv2/131")
    shown_pictures(page)
    page.mouse.move(0, 0)
    large = mean_colour(page.locator(".half:nth-child(2) .spot").first.screenshot())
    assert max(abs(a - b) for a, b in zip(small, large, strict=True)) < 8


def mean_colour(png):
    with Image.open(io.BytesIO(png)) as opened:
        return np.asarray(opened.convert("RGB")).mean((0, 1))


def test_a_map_shows_what_is_ordinary_for_it(open_page):
    page = open_page("#/layer2.0.conv1/1")
    page.wait_for_selector(".examples")
    assert page.locator(".spread .column").count() == 24
    heights = page.eval_on_selector_all(
        ".spread .column", "all => all.map((one) => one.getBoundingClientRect().height)"
    )
    assert max(heights) > 60
    spread, line = (page.locator(one).bounding_box() for one in (".spread", ".line"))
    assert abs(spread["width"] - line["width"]) < 1
    said = page.locator(".examples figcaption").all_inner_texts()
    assert [text.split(" · ")[0] for text in said] == ["at 99 %", "at 90 %", "at 50 %"]
    pictures = page.locator(".examples img")
    assert pictures.count() == 6
    loaded = (
        "document.querySelectorAll('.examples img').forEach((one) => { one.loading = 'eager'; })"
    )
    page.evaluate(loaded)
    page.wait_for_function(
        "[...document.querySelectorAll('.examples img')].every((one) => one.naturalWidth > 0)"
    )
    shifts = [pictures.nth(i).evaluate("one => parseFloat(one.style.left)") for i in (0, 2, 4)]
    assert shifts[0] == 0
    assert shifts[0] > shifts[1] > shifts[2]
    assert page.locator(".preferred tbody tr").count() == 5
    assert "Selectivity 0.10" in page.locator(".preferred").inner_text()
    assert page.locator(".line .mean").count() == 3


def test_patches_are_dimmed_where_their_projections_keep_nothing(open_page):
    page = open_page("#/layer2.0.conv1/1")
    page.wait_for_selector(".keeping")
    assert not page.locator(".masks").count()
    page.click("text=Dim the rest")
    page.wait_for_function("document.querySelector('.masks').naturalWidth > 0")
    assert page.url.endswith("#/layer2.0.conv1/1?kept=dimmed")
    boxes = [
        page.locator(one).bounding_box() for one in (".masks", ".half:nth-child(2) img >> nth=0")
    ]
    assert all(abs(boxes[0][side] - boxes[1][side]) < 1 for side in ("x", "y", "width", "height"))
    page.reload()
    page.wait_for_function("document.querySelector('.masks')?.naturalWidth > 0")
    assert page.locator(".masks").is_visible()
    page.click("text=Whole fields")
    assert not page.locator(".masks").count()
    assert page.url.endswith("#/layer2.0.conv1/1")


def test_a_picture_that_wins_twice_is_marked(open_page):
    page = open_page("#/layer2.0.conv1/3")
    page.wait_for_selector(".again")
    assert page.locator(".half .again").all_inner_texts() == ["= 2", "= 2"]
    assert page.locator("tr[data-rank='3'] .rank").inner_text().split() == ["3", "=", "2"]
    assert page.get_by_label("the same picture as rank 2").count() == 2
    page = open_page("#/layer2.0.conv1/1")
    page.wait_for_selector(".keeping")
    assert page.locator(".again").count() == 0


def test_winners_are_cropped_to_what_their_projections_keep(open_page):
    """Each cell shows the part of the sheet that the atlas says, at its true proportions."""
    page = open_page("#/layer2.0.conv1/1")
    page.click("text=Crop to it")
    assert page.url.endswith("#/layer2.0.conv1/1?kept=cropped")
    page.reload()
    page.wait_for_selector(".keeping")
    shown = page.evaluate(
        """async () => {
          const layer = ATLAS.named.get("layer2.0.conv1");
          const { winners, files } = await ATLAS.ofMap(layer, 1);
          const { cell, gutter, columns } = layer.layout;
          return [...document.querySelectorAll(".spot")].map((spot) => {
            const { backgroundImage, backgroundSize, backgroundPosition } = spot.style;
            const kind = spot.closest(".half").dataset.kind;
            const rank = Number(spot.dataset.rank);
            const [top, left, side] = winners.find((one) => one.rank === rank).kept;
            const [right, down] = [(rank - 1) % columns, Math.floor((rank - 1) / columns)];
            const enlarged = parseFloat(backgroundSize) / 100 * spot.clientWidth;
            const sheet = spot.parentNode.clientWidth;
            const share = parseFloat(backgroundPosition) / 100;
            return {
              right: backgroundImage.includes(files[kind]),
              by: enlarged / sheet, wanted: cell / side,
              at: share * (enlarged - spot.clientWidth) / (enlarged / sheet),
              starts: (right * (cell + gutter) + left) * spot.clientWidth / cell,
            };
          });
        }"""
    )
    assert len(shown) == 2 * page.locator(".half:first-child .spot").count()
    assert any(one["wanted"] > 1.2 for one in shown)
    for one in shown:
        assert one["right"]
        assert one["by"] == pytest.approx(one["wanted"], rel=0.02)
        assert one["at"] == pytest.approx(one["starts"], abs=2)
    page.click("text=Whole fields")
    assert page.locator(".spot").first.evaluate("spot => spot.style.backgroundImage") == ""


def test_a_kind_of_classes_is_found_and_leads_to_its_maps(open_page):
    """ImageNet's red fox and Persian cat are carnivores, after WordNet."""
    page = open_page("#/")
    page.fill("input[type=search]", "carni")
    page.wait_for_selector("[role=option]:has-text('carnivore')")
    option = page.locator("[role=option]:has-text('carnivore')").first
    assert "a kind of 2 classes" in option.inner_text()
    option.click()
    page.wait_for_selector("h1:has-text('carnivore')")
    assert page.url.endswith("#?kind=carnivore")
    assert sorted(page.locator(".chip").all_inner_texts()) == ["Persian cat", "red fox"]
    times = [int(text.rstrip("×")) for text in page.locator(".caption em").all_inner_texts()]
    assert times == sorted(times, reverse=True)
    assert times[0] > 1
    page.goto(page.url.replace("carnivore", "machine"))
    page.wait_for_selector("h1:has-text('Not here')")


def test_what_a_run_lacks_is_said(open_page):
    page = open_page("#/layer2.0.conv1/1")
    page.wait_for_selector(".examples .pairs")
    page.evaluate("ATLAS.root.examples = 0; location.hash = '#/layer2.0.conv1/2'")
    page.wait_for_function("document.querySelector('.examples')?.innerText.includes('--examples')")
    assert not page.locator(".examples .pairs").count()


def test_maps_in_order_of_their_selectivity(open_page):
    page = open_page("#/layer2.0.conv1?order=selective")
    page.wait_for_selector(".grid a")
    notes = page.locator(".grid .caption em").all_inner_texts()
    numbers = [float(note) for note in notes if note]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) > 2


def test_looking_at_a_winner_marks_it_everywhere_and_shows_its_picture(open_page):
    page = open_page("#/layer2.0.conv1/1")
    page.wait_for_selector("tbody tr")
    page.locator("tr[data-rank] >> nth=2").hover()
    assert page.locator(".on").count() == 4  # projection, patch, row, and its place among all
    page.locator(".half >> nth=1 >> .spot >> nth=0").hover()
    assert page.locator("tr.on .rank").inner_text() == "1"
    assert "Rank 1" in page.locator(".panel").inner_text()
    page.wait_for_function("document.querySelector('.whole img').naturalWidth === 224")
    inside = """() => {
      const [field, place, whole] = ['.field', '.place', '.whole img'].map(
        (one) => document.querySelector(one).getBoundingClientRect());
      return [field.left >= whole.left - 1, field.right <= whole.right + 1,
        place.left + place.width / 2 >= whole.left - 1, field.width / whole.width];
    }"""
    *within, width = page.evaluate(inside)
    assert all(within)
    box = page.evaluate("ATLAS.ofMap(ATLAS.layers[2], 1).then(({winners}) => winners[0].box)")
    assert abs(width - (box[3] - box[1]) / 224) < 0.01


@both
def test_a_picture_has_a_page_of_all_that_it_wins(open_page, folder):
    page = open_page("#/conv2/3")
    page.wait_for_selector("tbody tr")
    page.locator("td.key a").first.click()
    page.wait_for_selector(".won")
    sample = int(page.evaluate("location.hash").removeprefix("#?picture="))
    page.wait_for_function("document.querySelector('.whole img').naturalWidth === 224")
    run = Store(folder / "run")
    wins = sum(
        row["sample"] == sample
        for layer in LAYERS
        for row in run.read_table(f"winners/layer={layer}/part-0.parquet").to_pylist()
    )
    assert page.locator(".thumbnail").count() == wins
    assert page.locator(".field").count() == wins
    page.locator(".thumbnail >> nth=0").hover()
    assert page.locator(".field").count() == 1
    assert f"deconv-atlas explain {sample} --run" in page.locator("main").inner_text()
    assert "[object" not in page.locator("main").inner_text()


@both
def test_maps_and_layers_side_by_side(open_page):
    page = open_page("#/conv2/3")
    page.click("text=Compare")
    page.wait_for_selector(".column img")
    page.fill("#add", "layer2.0.conv1 1")
    page.click("button:text('Add')")
    page.wait_for_function("document.querySelectorAll('.column').length === 2")
    at(page, "#?compare=conv2/3,layer2.0.conv1/1")
    page.fill("#add", "conv1")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('.column').length === 3")
    page.get_by_label("Leave out").first.click()
    at(page, "#?compare=layer2.0.conv1/1,conv1")
    page.wait_for_function("document.querySelectorAll('.column').length === 2")
    page.fill("#add", "nothing")
    page.keyboard.press("Enter")
    assert "names no layer" in page.locator("[role=status]").inner_text()


@both
def test_a_map_of_another_run_stands_beside(open_page):
    """By the address of its atlas, which is shown as it is embedded; this one is as good."""
    page = open_page("#/conv2/3")
    other = page.url.split("#")[0] + "#/conv2/4"
    page.click("text=Compare")
    page.wait_for_selector(".column img")
    page.fill("#add", other)
    page.keyboard.press("Enter")
    page.wait_for_selector("iframe")
    inside = page.frame_locator("iframe")
    inside.locator(".sheet img >> nth=0").wait_for()
    assert "4" in inside.locator("h1").inner_text()
    assert not inside.locator(".bar").is_visible()
    page.reload()
    page.frame_locator("iframe").locator(".sheet img >> nth=0").wait_for()
    assert page.locator(".column h2 a").nth(1).get_attribute("href") == other
    page.get_by_label("Leave out").nth(1).click()
    page.wait_for_selector("iframe", state="detached")
    page.evaluate("location.hash = '#?compare=conv2/3,@javascript%253Aalert(1)'")
    page.wait_for_function("document.querySelectorAll('.column').length === 1")
    assert not page.locator("iframe").count()


def test_a_map_is_copied_as_link_pandas_and_citation(open_page, folder):
    page = open_page("#/conv2/3")
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.click("text=Copy pandas")
    script = page.evaluate("copied")
    place = f"{folder}/some folder/atlas/{page.evaluate('ATLAS.root.files.winners')}"
    script = re.sub(r'"http[^"]*"', repr(place), script)
    names = {}
    exec(script, names)  # what a reader would paste
    assert names["winners"]["rank"].tolist() == [1, 2, 3]
    assert set(names["winners"]["feature_map"]) == {3}
    page.get_by_role("button", name="Cite").click()
    assert "@misc{deconv-atlas-alexnet" in page.evaluate("copied")
    page.click("text=Copy link")
    assert page.evaluate("copied").endswith("#/conv2/3")


def test_what_is_embedded_is_the_map_alone(open_page):
    page = open_page("?embed#/conv2/3")
    shown_pictures(page)
    for hidden in (".bar", "#layers", ".actions"):
        assert not page.locator(hidden).is_visible()


def test_nothing_is_wider_than_a_phone_and_dark_is_dark(open_page):
    phone = open_page(width=360, color_scheme="dark", has_touch=True)
    places = ["#/", "#/conv2", "#/conv2?view=wall", "#/layer2.0.conv1/1", "#?class=tabby%20cat"]
    for place in [*places, "#?classes", "#?about", "#?picture=1"]:
        phone.evaluate("place => location.hash = place", place)
        phone.wait_for_timeout(200)
        assert phone.evaluate("document.documentElement.scrollWidth") == 360, place
    brightness = "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"
    assert phone.evaluate(brightness) < 50
    assert open_page().evaluate(brightness) > 200


def test_going_back_returns_to_where_one_was(open_page):
    page = open_page("#/conv2")
    page.get_by_label("conv2, map 120").scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    assert before > 300
    page.get_by_label("conv2, map 120").click()
    page.wait_for_selector("figure")
    assert page.evaluate("scrollY") == 0
    page.go_back()
    page.wait_for_selector(".grid")
    page.wait_for_function("y => Math.abs(scrollY - y) < 5", arg=before)


def test_all_links_are_relative(folder):
    atlas = folder / "some folder" / "atlas"
    ours = [path for path in atlas.rglob("*") if path.suffix in (".html", ".css", ".js")]
    viewer = (VIEWER / "openseadragon" / "openseadragon.min.js").read_text()
    for page in ours:
        text = (
            page.read_text().removeprefix(viewer).replace("http://www.w3.org/2000/svg", "")
        )  # a name, not an address
        text = re.sub(r"^\s*(//|\*).*|\s// .*|/\*\*.*?\*/", "", text, flags=re.MULTILINE)
        assert not re.search(r"(?<![:\w\\])//\w|https?:", text), page
        for link in re.findall(r'(?:href|src)="([^"$]*)"', text):
            assert not link.startswith("/"), (page, link)
